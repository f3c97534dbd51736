"""Uploads in several requests: chunks, questions, broken connections, cancellation."""

from __future__ import annotations

import random
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from orthanc_gcp.emulator.cloud_storage import resumable_uploads
from orthanc_gcp.emulator.cloud_storage.buckets import UNFINISHED
from tests.emulator.cloud_storage.bucket import Bucket, reason, unfinished
from tests.emulator.cloud_storage.test_uploads import sums

CHUNK = 256 * 1024
CONTENT = random.Random(1).randbytes(3 * CHUNK + 11)


def put(bucket: Bucket, session: str, content: bytes, span: str, **headers: str) -> Any:
    sent = {"Content-Range": f"bytes {span}", **headers} if span else headers
    return bucket.request("PUT", session, content, sent)


def chunk(bucket: Bucket, session: str, start: int, end: int, total: object = "*") -> Any:
    return put(bucket, session, CONTENT[start:end], f"{start}-{end - 1}/{total}")


def come(bucket: Bucket, session: str) -> int:
    """Return how many bytes the emulator says that it has."""
    answer = put(bucket, session, b"", "*/*")
    assert answer.status == 308
    span = answer.headers.get("range")
    return 0 if span is None else int(span.removeprefix("bytes=0-")) + 1


def test_chunk_by_chunk(bucket: Bucket) -> None:
    session = bucket.begin("d/a", {"metadata": {"k": "v"}}, **{"X-Upload-Content-Type": "a/b"})
    assert come(bucket, session) == 0
    for start in range(0, 3 * CHUNK, CHUNK):
        answer = chunk(bucket, session, start, start + CHUNK)
        assert (answer.status, answer.data) == (308, b"")
        assert answer.headers["range"] == f"bytes=0-{start + CHUNK - 1}"
    assert bucket.names() == []
    answer = chunk(bucket, session, 3 * CHUNK, len(CONTENT), len(CONTENT))
    assert answer.status == 200
    resource = answer.json()
    assert (resource["contentType"], resource["metadata"]) == ("a/b", {"k": "v"})
    assert (resource["md5Hash"], resource["crc32c"]) == (sums(CONTENT).md5, sums(CONTENT).crc32c)
    assert bucket.download("d/a").data == CONTENT
    # Asked again, as after an answer that was lost.
    assert put(bucket, session, b"", f"*/{len(CONTENT)}").json() == resource
    assert unfinished(bucket) == set()


def test_all_at_once(bucket: Bucket) -> None:
    assert put(bucket, bucket.begin("a"), CONTENT, "").json()["size"] == str(len(CONTENT))
    whole = f"0-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert put(bucket, bucket.begin("b"), CONTENT, whole).status == 200
    assert put(bucket, bucket.begin("c"), iter([CONTENT, b"1"]), "").status == 200  # type: ignore[arg-type]
    assert bucket.download("c").data == CONTENT + b"1"
    assert put(bucket, bucket.begin("d"), b"", "").json()["size"] == "0"
    assert put(bucket, bucket.begin("e"), b"", "*/0").json()["size"] == "0"


def test_bytes_that_have_come_already(bucket: Bucket) -> None:
    session = bucket.begin("a")
    chunk(bucket, session, 0, 2 * CHUNK)
    answer = chunk(bucket, session, CHUNK, 3 * CHUNK)
    assert answer.headers["range"] == f"bytes=0-{3 * CHUNK - 1}"
    assert chunk(bucket, session, 0, CHUNK).headers["range"] == f"bytes=0-{3 * CHUNK - 1}"
    assert chunk(bucket, session, 0, len(CONTENT), len(CONTENT)).status == 200
    assert bucket.download("a").data == CONTENT


@pytest.mark.parametrize(
    "span",
    [
        *("0-99/*", f"0-{CHUNK}/*", f"0-{CHUNK}/{10 * CHUNK}", "5-4/10", "0-10/5"),
        *(f"{CHUNK}-{2 * CHUNK - 1}/*", "x", "0-", "-5/10", "0-1/2/3", "0-99999999999999999999/*"),
    ],
)
def test_chunks_that_cannot_be(bucket: Bucket, span: str) -> None:
    session = bucket.begin("a")
    assert reason(put(bucket, session, b"x" * 10, span)) == (400, "invalid")
    assert come(bucket, session) == 0


def test_a_body_that_is_longer_than_it_says(bucket: Bucket) -> None:
    session = bucket.begin("a")
    assert reason(put(bucket, session, b"x" * 11, "0-9/10")) == (400, "invalid")
    assert bucket.names() == []


def test_a_body_that_is_shorter_than_it_says(bucket: Bucket) -> None:
    session = bucket.begin("a")
    answer = put(bucket, session, CONTENT[:10], "0-19/20")
    assert (answer.status, answer.headers["range"]) == (308, "bytes=0-9")
    assert put(bucket, session, CONTENT[10:20], "10-19/20").status == 200
    assert bucket.download("a").data == CONTENT[:20]


def test_a_size_that_changes(bucket: Bucket) -> None:
    session = bucket.begin("a", **{"X-Upload-Content-Length": "10"})
    assert reason(put(bucket, session, b"x" * 11, "0-10/11")) == (400, "invalid")
    assert put(bucket, session, b"x" * 10, "0-9/10").status == 200


def test_checksums_that_differ(bucket: Bucket) -> None:
    session = bucket.begin("a", {"crc32c": sums(b"other").crc32c})
    assert reason(put(bucket, session, b"this", "0-3/4")) == (400, "invalid")
    assert put(bucket, session, b"", "*/*").status == 404
    session = bucket.begin("a")
    answer = put(bucket, session, b"1", "0-0/1", **{"X-Goog-Hash": f"md5={sums(b'2').md5}"})
    assert reason(answer) == (400, "invalid")
    assert bucket.names() == []
    assert unfinished(bucket) == set()


def test_preconditions_are_those_of_the_beginning(bucket: Bucket) -> None:
    path = f"/upload/storage/v1/b/{bucket.name}/o"
    query = {"uploadType": "resumable", "name": "a", "ifGenerationMatch": 0}
    session = bucket.request("POST", path, b"", **query).headers["location"]
    bucket.put("a", b"meanwhile")
    assert reason(put(bucket, session, b"1", "0-0/1")) == (412, "conditionNotMet")
    assert bucket.download("a").data == b"meanwhile"
    assert unfinished(bucket) == set()


def test_cancellation(bucket: Bucket) -> None:
    session = bucket.begin("a")
    chunk(bucket, session, 0, CHUNK)
    assert bucket.request("DELETE", session).status == 499
    assert reason(put(bucket, session, b"", "*/*")) == (404, "notFound")
    assert reason(bucket.request("DELETE", session)) == (404, "notFound")
    assert unfinished(bucket) == set()


def test_sessions_that_there_are_not(bucket: Bucket) -> None:
    path = f"/upload/storage/v1/b/{bucket.name}/o"
    assert reason(bucket.request("PUT", path, b"", upload_id="x")) == (404, "notFound")
    assert reason(bucket.request("PUT", path, b"")) == (400, "required")
    other = f"/upload/storage/v1/b/{bucket.name.replace('b-', 'c-')}/o"
    answer = bucket.request("POST", other, b'{"name": "a"}', uploadType="resumable")
    assert reason(answer) == (404, "notFound")


def send_half(bucket: Bucket, session: str, content: bytes, length: int) -> socket.socket:
    """Begin to send a whole object, and stop on the way."""
    address = urlsplit(session)
    connection = socket.create_connection((address.hostname or "", address.port or 0))
    head = (
        f"PUT {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Length: {length}\r\nContent-Range: bytes 0-{length - 1}/{length}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


def wait_for(bucket: Bucket, session: str, least: int) -> int:
    for _ in range(500):
        if (found := come(bucket, session)) >= least:
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def test_what_came_before_a_connection_broke_counts(bucket: Bucket) -> None:
    session = bucket.begin("a")
    with send_half(bucket, session, CONTENT[: CHUNK + 1000], len(CONTENT)):
        wait_for(bucket, session, CHUNK)
    start = wait_for(bucket, session, CHUNK + 1000)
    assert chunk(bucket, session, start, len(CONTENT), len(CONTENT)).status == 200
    assert bucket.download("a").data == CONTENT


def test_the_latest_request_goes_on(bucket: Bucket) -> None:
    """A client that lost its connection does not wait until the emulator notices."""
    session = bucket.begin("a")
    with send_half(bucket, session, CONTENT[: CHUNK + 1000], len(CONTENT)) as first:
        start = wait_for(bucket, session, CHUNK)
        assert chunk(bucket, session, start, len(CONTENT), len(CONTENT)).status == 200
        first.sendall(CONTENT[CHUNK + 1000 :])
        assert b" 503 " in first.recv(1000)
    assert bucket.download("a").data == CONTENT


def test_sessions_are_bounded(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = bucket.begin("ended")
    assert put(bucket, ended, b"1", "0-0/1").status == 200
    before = len(unfinished(bucket))
    monkeypatch.setattr(resumable_uploads, "MAX_SESSIONS", 1)
    path = f"/upload/storage/v1/b/{bucket.name}/o"
    answers = [
        bucket.request("POST", path, b"", uploadType="resumable", name=f"{number}")
        for number in range(30)
    ]
    refused = [answer for answer in answers if answer.status != 200]
    assert {reason(answer) for answer in refused} == {(429, "rateLimitExceeded")}
    assert len(unfinished(bucket)) == before + len(answers) - len(refused)
    for answer in answers:
        if answer.status == 200:
            bucket.request("DELETE", answer.headers["location"])


def test_sessions_end(bucket: Bucket) -> None:
    session = bucket.begin("a")
    chunk(bucket, session, 0, CHUNK)
    bucket.emulator.fault_settings.change(clockOffset=resumable_uploads.LIFETIME + 1)
    bucket.request("DELETE", bucket.begin("b"))
    assert unfinished(bucket) == set()
    bucket.emulator.fault_settings.change(clockOffset=0)
    assert reason(put(bucket, session, b"", "*/*")) == (404, "notFound")


@pytest.mark.parametrize("length", ["9" * 5000, "x", "-1", "", "1e3"])
def test_announcements_that_are_no_size(bucket: Bucket, length: str) -> None:
    session = bucket.begin("a", **{"X-Upload-Content-Length": length})
    assert put(bucket, session, b"1", "0-0/1").status == 200


def test_a_disk_that_cannot_be_written(bucket: Bucket) -> None:
    """Nothing is known of the file then, so the upload does not go on."""
    session = bucket.begin("a")
    (name,) = unfinished(bucket)
    file = bucket.folder.parent / UNFINISHED / name
    file.unlink()
    file.mkdir()
    assert reason(put(bucket, session, b"1", "0-0/1")) == (503, "backendError")
    file.rmdir()
    assert reason(put(bucket, session, b"1", "0-0/1")) == (404, "notFound")
    assert bucket.names() == []
