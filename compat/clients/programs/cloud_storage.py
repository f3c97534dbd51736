"""google-cloud-storage: buckets, uploads of every kind, lists, downloads, preconditions.

Reads ``{"credentials": …, "files": […]}``; without credentials the client is anonymous, as it is
with ``STORAGE_EMULATOR_HOST``. Each file is uploaded, and what came of it is printed.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud import storage
from google.cloud.storage import transfer_manager
from google.oauth2 import service_account

CHUNK = 256 * 1024
BIG = 9 * 1024 * 1024 + 17  # beyond 8 MiB, the client's uploads are resumable


def make_client(credentials: str | None) -> storage.Client:
    if credentials is None:
        return storage.Client(project="osimis-test")
    scopes = ["https://www.googleapis.com/auth/devstorage.full_control"]
    signer = service_account.Credentials.from_service_account_file(credentials, scopes=scopes)
    return storage.Client(project="osimis-test", credentials=signer)


def buckets(client: storage.Client) -> None:
    assert not client.bucket("fresh-bucket").exists()
    made = client.create_bucket("fresh-bucket")
    assert made.exists()
    assert "fresh-bucket" in [bucket.name for bucket in client.list_buckets()]
    assert client.get_bucket("fresh-bucket").time_created is not None
    made.delete()
    assert client.lookup_bucket("fresh-bucket") is None


def uploads(bucket: storage.Bucket, content: bytes) -> None:
    """Upload in each of the client's ways, and download in each."""
    small = bucket.blob("a b/é+%/x.dcm")
    small.metadata = {"k": "v"}
    small.upload_from_string(b"hello", content_type="application/dicom", checksum="md5")
    small.reload()
    assert (small.md5_hash, small.crc32c) == ("XUFAKrxLKna5cZ2REBfFkg==", "mnG7TA==")
    assert (small.content_type, small.metadata) == ("application/dicom", {"k": "v"})
    assert small.generation and small.etag and small.time_created
    small.metadata = {"l": "w"}
    small.patch()
    assert bucket.get_blob(small.name).metadata == {"k": "v", "l": "w"}

    for name, blob in {
        "chunks": bucket.blob("chunks", chunk_size=4 * CHUNK),
        "whole": bucket.blob("whole"),
    }.items():
        blob.upload_from_file(io.BytesIO(content), size=len(content), checksum="crc32c")
        assert bucket.blob(name).download_as_bytes(checksum="crc32c") == content
        assert bucket.blob(name).download_as_bytes(start=5, end=10) == content[5:11]
        assert bucket.get_blob(name).size == len(content)
    with bucket.blob("stream").open("wb", chunk_size=CHUNK) as file:
        for start in range(0, len(content), 100_000):
            file.write(content[start : start + 100_000])
    with bucket.blob("stream").open("rb", chunk_size=CHUNK) as file:
        assert file.read() == content
    session = bucket.blob("by-session").create_resumable_upload_session(size=3)
    assert "upload_id=" in session
    with Path("parts").open("wb") as target:
        bucket.blob("whole").download_to_file(target)
    assert Path("parts").read_bytes() == content
    transfer_manager.download_chunks_concurrently(
        bucket.get_blob("whole"), "parts", chunk_size=1024 * 1024, worker_type="thread"
    )
    assert Path("parts").read_bytes() == content


def lists(client: storage.Client, bucket: storage.Bucket) -> None:
    assert [blob.name for blob in client.list_blobs(bucket, page_size=1)] == [
        *("a b/é+%/x.dcm", "chunks", "stream", "whole"),
    ]
    found = client.list_blobs(bucket, delimiter="/")
    assert [blob.name for blob in found] == ["chunks", "stream", "whole"]
    assert found.prefixes == {"a b/"}
    assert [blob.name for blob in client.list_blobs(bucket, prefix="s")] == ["stream"]


def refusals(bucket: storage.Bucket) -> None:
    assert bucket.get_blob("nothing") is None
    assert not bucket.blob("nothing").exists()
    for call, error in (
        (lambda: bucket.blob("nothing").download_as_bytes(), NotFound),
        (lambda: bucket.blob("nothing").delete(), NotFound),
        (
            lambda: bucket.blob("whole").upload_from_string("", if_generation_match=0),
            PreconditionFailed,
        ),
        (lambda: bucket.blob("../up").upload_from_string(""), BadRequest),
    ):
        try:
            call()
        except error:
            continue
        raise AssertionError(error)


def main() -> None:
    wanted = json.load(sys.stdin)
    client = make_client(wanted["credentials"])
    bucket = client.bucket(wanted["bucket"])
    buckets(client)
    uploads(bucket, os.urandom(BIG))
    lists(client, bucket)
    refusals(bucket)
    for blob in list(client.list_blobs(bucket)):
        blob.delete()
    files = [Path(name) for name in wanted["files"]]
    results = transfer_manager.upload_many_from_filenames(
        bucket,
        [file.name for file in files],
        source_directory=str(files[0].parent),
        blob_name_prefix="in/",
        worker_type="thread",
    )
    assert results == [None] * len(files), results
    json.dump([blob.name for blob in client.list_blobs(bucket)], sys.stdout)


main()
