"""Requests by chance: each is answered, and none by an error of the emulator's own."""

from __future__ import annotations

import random
from collections import Counter
from urllib.parse import quote

import pytest

from tests.emulator.cloud_storage.bucket import Bucket

NAMES = (
    "a",
    "a/b",
    "..",
    "a/../b",
    "%",
    "é😀",
    "a\0b",
    " ",
    "o",
    "x" * 300,
    "a//b",
    "/",
    "?#",
    "\n",
)
PARAMETERS = (
    *("uploadType", "name", "upload_id", "alt", "prefix", "delimiter", "pageToken", "maxResults"),
    *("startOffset", "endOffset", "generation", "ifGenerationMatch", "ifMetagenerationNotMatch"),
)
VALUES = (
    "",
    "media",
    "multipart",
    "resumable",
    "a",
    "0",
    "-1",
    "9" * 19,
    "/",
    "%00",
    "%ff",
    "YQ==",
)
HEADERS = {
    "Content-Range": ("bytes 0-0/1", "bytes */*", "bytes */0", "bytes x", "bytes 0-262143/*", ""),
    "Range": ("bytes=0-", "bytes=-1", "bytes=5-2", "bytes=99999-", "x", "bytes=0-0,1-1"),
    "Content-Type": ("multipart/related; boundary=x", "multipart/related", "", "x;;;="),
    "X-Goog-Hash": ("md5=x", "crc32c=AAAAAA==", ",,,", "md5=%"),
    "X-Upload-Content-Length": ("1", "x", "9" * 30),
    "Authorization": ("Bearer x", ""),
}
PART = b'--x\r\n\r\n{"name": "a"}\r\n--x\r\n\r\nabc\r\n--x--'
BODIES = (b"", b"x", b'{"name": "a"}', b'{"name": "\\ud800"}', b"[", b"\xff", PART, bytes(70_000))


def address(chance: random.Random, bucket: Bucket) -> tuple[str, str]:
    name = quote(chance.choice(NAMES), safe=chance.choice(["", "/"]))
    objects = f"/storage/v1/b/{bucket.name}/o"
    verb, path = chance.choice(
        [
            *(("GET", objects), ("POST", "/storage/v1/b"), ("GET", f"/storage/v1/b/{name}/o")),
            *((verb, f"{objects}/{name}") for verb in ("GET", "PATCH", "DELETE")),
            ("GET", f"/download{objects}/{name}"),
            *((verb, f"/upload{objects}") for verb in ("POST", "POST", "PUT", "DELETE")),
        ]
    )
    query = [
        f"{chance.choice(PARAMETERS)}={chance.choice(VALUES)}" for _ in range(chance.randrange(3))
    ]
    if verb == "POST":
        query += [f"uploadType={chance.choice(VALUES[1:4])}", f"name={name}"]
    return verb, f"{path}?{'&'.join(query)}"


@pytest.mark.parametrize("seed", range(3))
def test_requests_by_chance(bucket: Bucket, seed: int) -> None:
    chance, statuses = random.Random(seed), Counter[int]()
    sessions: list[str] = []
    above = bucket.folder.parents[1]
    outside = {path.name for path in above.iterdir()}
    for _ in range(200):
        verb, path = address(chance, bucket)
        if sessions and chance.random() < 0.3:
            verb, path = chance.choice(["PUT", "PUT", "DELETE"]), chance.choice(sessions)
        headers = {
            name: chance.choice(HEADERS[name])
            for name in chance.sample(sorted(HEADERS), chance.randrange(4))
        }
        answer = bucket.request(verb, path, chance.choice(BODIES), headers)
        statuses[answer.status] += 1
        assert answer.status != 500, (verb, path, headers)
        if answer.status == 200 and "location" in answer.headers:
            sessions.append(answer.headers["location"])
    assert {200, 400, 404} <= statuses.keys()
    for session in sessions:
        bucket.request("DELETE", session)
    assert {path.name for path in above.iterdir()} == outside
