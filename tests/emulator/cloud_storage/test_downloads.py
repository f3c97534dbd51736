"""Content of objects: whole, in ranges, and what comes with it."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from orthanc_gcp.emulator.cloud_storage.downloads import byte_range
from orthanc_gcp.emulator.http.responses import Refusal
from tests.emulator.cloud_storage.bucket import Bucket, reason
from tests.emulator.cloud_storage.test_uploads import sums

CONTENT = random.Random(2).randbytes(600_001)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=3-", (3, 7)),
        ("bytes=-3", (7, 3)),
        ("bytes=-30", (0, 10)),
        ("bytes=9-1000", (9, 1)),
        (" bytes = 1 - 2 ", (1, 2)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("", None),
        (None, None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-0", 9)])
def test_ranges_beyond_the_end(header: str, size: int) -> None:
    with pytest.raises(Refusal) as refused:
        byte_range(header, size)
    response: Response = refused.value.response
    assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{size}")


def test_a_download(bucket: Bucket) -> None:
    resource = bucket.put("a", CONTENT)
    for answer in (bucket.download("a"), bucket.about("GET", "a", alt="media")):
        assert (answer.status, answer.data) == (200, CONTENT)
        headers = answer.headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["x-goog-hash"] == f"crc32c={resource['crc32c']},md5={resource['md5Hash']}"
        assert headers["x-goog-generation"] == resource["generation"]
        assert headers["etag"] == f'"{resource["etag"]}"'
        assert headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 262_150), (600_000, 600_000)])
def test_a_range(bucket: Bucket, start: int, end: int) -> None:
    bucket.put("a", CONTENT)
    answer = bucket.download("a", {"Range": f"bytes={start}-{end}"})
    assert (answer.status, answer.data) == (206, CONTENT[start : end + 1])
    assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(CONTENT)}"
    beyond = bucket.download("a", {"Range": f"bytes={len(CONTENT)}-"})
    assert reason(beyond) == (416, "requestedRangeNotSatisfiable")


def test_an_empty_object(bucket: Bucket) -> None:
    bucket.put("a", b"")
    answer = bucket.download("a")
    assert (answer.status, answer.data, answer.headers["content-length"]) == (200, b"", "0")


def test_what_the_client_said_comes_back(bucket: Bucket) -> None:
    bucket.put("a")
    said = {
        "cacheControl": "no-store",
        "contentDisposition": "inline",
        "contentLanguage": "de",
        "contentType": "a/b; c=d",
    }
    assert bucket.about("PATCH", "a", str(said).replace("'", '"').encode()).status == 200
    headers = bucket.download("a").headers
    assert headers["cache-control"] == "no-store"
    assert headers["content-disposition"] == "inline"
    assert headers["content-language"] == "de"
    assert headers["content-type"] == "a/b; c=d"


def test_an_object_that_is_replaced_while_it_is_read(bucket: Bucket) -> None:
    bucket.put("a", CONTENT * 30)
    url = f"{bucket.emulator.url}/download/storage/v1/b/{bucket.name}/o/a?alt=media"
    answer = bucket.pool.request("GET", url, preload_content=False)
    first = answer.read(1000)
    bucket.put("a", b"new")
    assert first + answer.read() == CONTENT * 30
    assert bucket.download("a").data == b"new"


def test_clients_that_leave(bucket: Bucket) -> None:
    """Nothing stays open behind them."""
    bucket.put("a", CONTENT * 30)
    url = f"{bucket.emulator.url}/download/storage/v1/b/{bucket.name}/o/a?alt=media"

    def leave() -> None:
        answer = bucket.pool.request("GET", url, preload_content=False)
        answer.read(10)
        answer.close()

    threads = [threading.Thread(target=leave) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(500):
        if not open_files(bucket):
            break
        bucket.about("GET")
    assert open_files(bucket) == []


def open_files(bucket: Bucket) -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(entry.readlink()))
    return [path for path in found if path.startswith(str(bucket.folder))]


def test_versions(bucket: Bucket) -> None:
    old, new = bucket.put("a", b"1"), bucket.put("a", b"2")
    queries: list[tuple[dict[str, Any], int]] = [
        ({"generation": new["generation"]}, 200),
        ({"generation": old["generation"]}, 404),
        ({"ifGenerationMatch": new["generation"]}, 200),
        ({"ifGenerationMatch": old["generation"]}, 412),
        ({"ifGenerationNotMatch": new["generation"]}, 412),
        ({"ifMetagenerationMatch": 1}, 200),
        ({"ifMetagenerationNotMatch": 1}, 412),
    ]
    for query, status in queries:
        assert bucket.download("a", **query).status == status, query
        assert bucket.about("GET", "a", **query).status == status, query


def test_a_file_that_somebody_put_there(bucket: Bucket) -> None:
    (bucket.folder / "a").write_bytes(CONTENT)
    listed = bucket.list()["items"][0]
    assert "md5Hash" not in listed  # it was not read for the list
    resource = bucket.about("GET", "a").json()
    assert (resource["md5Hash"], resource["crc32c"]) == (sums(CONTENT).md5, sums(CONTENT).crc32c)
    assert bucket.list()["items"] == [resource]
    (bucket.folder / "a").write_bytes(b"other")
    changed = bucket.about("GET", "a").json()
    assert changed["md5Hash"] == sums(b"other").md5
    assert int(changed["generation"]) > int(resource["generation"])
