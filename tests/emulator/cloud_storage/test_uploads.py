"""Uploads in one request: simple and multipart."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orthanc_gcp.emulator.cloud_storage.buckets import UNFINISHED
from orthanc_gcp.emulator.cloud_storage.checksums import Checksums
from tests.emulator.cloud_storage.bucket import Bucket, reason, unfinished

HOSTILE = ["../up", "a/../../up", "/up", "a//b", "a/", ".", "a\nb", "a\0b", "é" * 200, "x" * 1025]


def sums(content: bytes) -> Checksums:
    checksums = Checksums()
    checksums.update(content)
    return checksums


def multipart(resource: Any, content: bytes, kind: str = "application/dicom") -> bytes:
    head = json.dumps(resource).encode() if not isinstance(resource, bytes) else resource
    return (
        b"--x\r\nContent-Type: application/json\r\n\r\n"
        + head
        + f"\r\n--x\r\nContent-Type: {kind}\r\n\r\n".encode()
        + content
        + b"\r\n--x--\r\n"
    )


def send(bucket: Bucket, body: bytes, kind: str = "multipart/related; boundary=x", **query: Any):
    path = f"/upload/storage/v1/b/{bucket.name}/o"
    query = {"uploadType": "multipart", **query}
    return bucket.request("POST", path, body, {"Content-Type": kind}, **query)


@pytest.mark.parametrize("size", [0, 1, 262_144, 700_001])
def test_a_simple_upload(bucket: Bucket, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    answer = bucket.upload("d/a b%.dcm", content, {"Content-Type": "application/dicom"})
    assert answer.status == 200
    resource = answer.json()
    assert (bucket.folder / "d" / "a b%.dcm").read_bytes() == content
    assert resource == bucket.about("GET", "d/a b%.dcm").json()
    assert resource["md5Hash"] == base64.b64encode(hashlib.md5(content).digest()).decode()
    assert resource["crc32c"] == sums(content).crc32c
    assert (resource["size"], resource["contentType"]) == (str(size), "application/dicom")
    assert (resource["bucket"], resource["name"]) == (bucket.name, "d/a b%.dcm")
    assert resource["selfLink"].endswith(f"/storage/v1/b/{bucket.name}/o/d%2Fa%20b%25.dcm")
    assert bucket.request("GET", resource["mediaLink"]).data == content
    assert unfinished(bucket) == set()


def test_a_body_without_a_length(bucket: Bucket) -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(100):
            yield bytes([number]) * 10_000

    answer = bucket.upload("a", pieces())
    assert answer.json()["size"] == "1000000"
    assert (bucket.folder / "a").read_bytes() == b"".join(pieces())


def test_a_multipart_upload(bucket: Bucket) -> None:
    content = b"a\r\n--y\r\n" * 50_000
    resource = {
        "name": "é/a",
        "metadata": {"k": "ü"},
        "cacheControl": "no-store",
        "md5Hash": sums(content).md5,
        "crc32c": sums(content).crc32c,
        "id": "ignored",
        "size": "7",
    }
    answer = send(bucket, multipart(resource, content))
    assert answer.status == 200, answer.data
    assert answer.json()["contentType"] == "application/dicom"
    assert answer.json()["metadata"] == {"k": "ü"}
    assert answer.json()["size"] == str(len(content))
    assert bucket.download("é/a").data == content
    typed = multipart({"name": "b", "contentType": "text/plain"}, b"1")
    assert send(bucket, typed).json()["contentType"] == "text/plain"
    assert send(bucket, multipart({}, b"2"), name="c").json()["name"] == "c"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"--x--\r\n", b"x", multipart({"name": "a"}, b"1")[:-5]),
        *(multipart(b"[]", b"1"), multipart(b"{", b"1"), multipart(b"\xff", b"1")),
        multipart({"name": 7}, b"1"),
        multipart({"name": "a", "metadata": []}, b"1"),
        multipart({"name": "a", "metadata": {"k": 1}}, b"1"),
        multipart({"name": "a", "metadata": {"\ud800": "v"}}, b"1"),
        multipart({"name": "a", "contentType": "a\r\nb: c"}, b"1"),
        multipart({"name": "a", "cacheControl": "\ud800"}, b"1"),
        multipart({"name": "a", "metadata": {"k": "x" * 70_000}}, b"1"),
        multipart({"name": "a"}, b"1").replace(b"--x--", b"--x\r\n\r\n3\r\n--x--"),
        multipart({"name": "../a"}, b"1"),
    ],
)
def test_multipart_bodies_that_cannot_be(bucket: Bucket, body: bytes) -> None:
    assert send(bucket, body).status == 400
    assert bucket.names() == []
    assert unfinished(bucket) == set()


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/related", "multipart/related; boundary="]
)
def test_types_that_are_no_multipart(bucket: Bucket, kind: str) -> None:
    assert reason(send(bucket, multipart({"name": "a"}, b"1"), kind)) == (400, "invalid")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_no_file_has(bucket: Bucket, name: str) -> None:
    before = sorted(bucket.folder.parents[1].rglob("*"))
    assert reason(bucket.upload(name, b"x")) == (400, "invalid")
    assert send(bucket, multipart({"name": name}, b"x")).status == 400
    for verb in ("GET", "DELETE", "PATCH"):
        assert bucket.about(verb, name, b"{}").status == 400
    left = [path for path in bucket.folder.parents[1].rglob("*") if path not in before]
    assert [path for path in left if "index" not in path.name and path.name != UNFINISHED] == []


def test_names_that_are_unusual(bucket: Bucket) -> None:
    for name in (
        "a?b#c&d=e",
        "%2e%2e",
        "%2F",
        "...",
        "a b+c",
        "😀/ü",
        "o",
        "o/o",
        "b/x/o/y",
        "~'()*",
    ):
        assert bucket.put(name, name.encode())["name"] == name
        assert bucket.download(name).data == name.encode()
        assert bucket.about("GET", name).json()["name"] == name
        assert bucket.about("DELETE", name).status == 204
    assert not any(bucket.folder.iterdir())


def test_checksums_that_differ(bucket: Bucket) -> None:
    right, wrong = sums(b"1"), sums(b"2")
    for header in (f"md5={wrong.md5}", f"crc32c={wrong.crc32c},md5={right.md5}", "crc32c=AAAA"):
        answer = bucket.upload("a", b"1", {"X-Goog-Hash": header})
        assert reason(answer) == (400, "invalid")
    for resource in ({"md5Hash": wrong.md5}, {"crc32c": wrong.crc32c}, {"crc32c": 7}):
        assert send(bucket, multipart({"name": "a", **resource}, b"1")).status == 400
    assert bucket.names() == []
    header = f"crc32c={right.crc32c}, md5={right.md5}"
    assert bucket.upload("a", b"1", {"X-Goog-Hash": header}).status == 200


def test_what_is_missing(bucket: Bucket) -> None:
    path = f"/upload/storage/v1/b/{bucket.name}/o"
    assert reason(bucket.request("POST", path, b"", uploadType="media")) == (400, "required")
    assert reason(bucket.request("POST", path, b"", name="a")) == (400, "invalid")
    assert reason(bucket.request("POST", path, b"", uploadType="x", name="a")) == (400, "invalid")
    other = bucket.request("POST", f"{path}".replace("b-", "c-"), b"", uploadType="media", name="a")
    assert reason(other) == (404, "notFound")


def test_a_folder_and_an_object_of_one_name(bucket: Bucket) -> None:
    bucket.put("a/b")
    for name in ("a", "a/b/c"):
        assert reason(bucket.upload(name, b"x")) == (409, "conflict")
    assert bucket.names() == ["a/b"]
    assert unfinished(bucket) == set()


def test_an_object_is_replaced(bucket: Bucket) -> None:
    first, second = bucket.put("a", b"1"), bucket.put("a", b"1")
    assert int(second["generation"]) > int(first["generation"])
    assert second["etag"] != first["etag"]
    newest = first["generation"]
    assert reason(bucket.upload("a", b"3", ifGenerationMatch=newest)) == (412, "conditionNotMet")
    assert reason(bucket.upload("a", b"3", ifGenerationMatch=0)) == (412, "conditionNotMet")
    assert bucket.upload("b", b"3", ifGenerationMatch=0).status == 200
    assert bucket.upload("a", b"3", ifGenerationMatch=second["generation"]).status == 200
    assert reason(bucket.upload("a", b"4", ifGenerationMatch="x")) == (400, "invalid")
    assert bucket.download("a").data == b"3"
    assert unfinished(bucket) == set()


def test_a_client_that_leaves(bucket: Bucket) -> None:
    host, port = bucket.emulator.url.removeprefix("http://").split(":")
    head = (
        f"POST /upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=a HTTP/1.1\r\n"
        f"Host: {host}\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + bytes(600_000))
        while not unfinished(bucket):
            time.sleep(0.01)
    for _ in range(500):
        if not unfinished(bucket):
            break
        time.sleep(0.01)
    assert unfinished(bucket) == set()
    assert bucket.names() == []
