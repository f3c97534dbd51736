"""The JSON API: buckets, objects, and what is not there."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.emulator.cloud_storage.methods import shown_path
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client
from tests.emulator.cloud_storage.bucket import Bucket, reason


def create(bucket: Bucket, name: Any) -> Any:
    body = json.dumps({"name": name}).encode()
    return bucket.request("POST", "/storage/v1/b", body, project="osimis-test")


def test_a_bucket(bucket: Bucket) -> None:
    name = f"new-{secrets.token_hex(4)}"
    created = create(bucket, name)
    assert created.status == 200
    resource = created.json()
    assert (resource["name"], resource["kind"]) == (name, "storage#bucket")
    path = f"/storage/v1/b/{name}"
    assert bucket.request("GET", path).json() == resource
    assert reason(create(bucket, name)) == (409, "conflict")
    (bucket.folder.parent / name / "a").write_bytes(b"")
    assert reason(bucket.request("DELETE", path)) == (409, "conflict")
    (bucket.folder.parent / name / "a").unlink()
    assert bucket.request("DELETE", path).status == 204
    assert not (bucket.folder.parent / name).exists()
    for verb in ("GET", "DELETE"):
        assert reason(bucket.request(verb, path)) == (404, "notFound")
    assert reason(bucket.request("GET", f"{path}/o")) == (404, "notFound")
    assert reason(bucket.request("GET", f"{path}/o/a")) == (404, "notFound")


@pytest.mark.parametrize(
    "name", ["", None, 7, "A", "ab", "..", "../x", "a/b", ".uploads", "-a-", "x" * 300, "é", "a\0b"]
)
def test_names_that_no_bucket_has(bucket: Bucket, name: Any) -> None:
    before = sorted(bucket.folder.parents[1].iterdir())
    assert reason(create(bucket, name)) == (400, "invalid")
    assert sorted(bucket.folder.parents[1].iterdir()) == before


def test_buckets_by_pages(bucket: Bucket) -> None:
    prefix = f"page-{secrets.token_hex(4)}-"
    for letter in "abc":
        (bucket.folder.parent / f"{prefix}{letter}").mkdir()
    found, token = [], ""
    while True:
        query = {"prefix": prefix, "maxResults": 2, **({"pageToken": token} if token else {})}
        page = bucket.request("GET", "/storage/v1/b", **query).json()
        found += [item["name"] for item in page["items"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert found == [f"{prefix}{letter}" for letter in "abc"]
    assert bucket.request("GET", "/storage/v1/b", prefix="none").json() == {
        "kind": "storage#buckets"
    }


def test_what_is_said_of_an_object_changes(bucket: Bucket) -> None:
    first = bucket.put("a", b"1")
    body = json.dumps({"metadata": {"k": "v", "l": "w"}, "contentType": "a/b"}).encode()
    changed = bucket.about("PATCH", "a", body).json()
    assert (changed["metageneration"], changed["generation"]) == ("2", first["generation"])
    assert (changed["metadata"], changed["contentType"]) == ({"k": "v", "l": "w"}, "a/b")
    assert changed["etag"] != first["etag"]
    body = json.dumps({"metadata": {"k": None, "m": "x"}, "contentType": None}).encode()
    changed = bucket.about("PATCH", "a", body).json()
    assert changed["metadata"] == {"l": "w", "m": "x"}
    assert changed["contentType"] == "application/octet-stream"
    assert "metadata" not in bucket.about("PATCH", "a", b'{"metadata": null}').json()
    for wrong in (
        b"[]",
        b"x",
        b'{"metadata": 1}',
        b'{"metadata": {"a": 1}}',
        b'{"contentType": 1}',
    ):
        assert reason(bucket.about("PATCH", "a", wrong)) == (400, "invalid")
    stale = bucket.about("PATCH", "a", b"{}", ifMetagenerationMatch=1)
    assert reason(stale) == (412, "conditionNotMet")
    assert reason(bucket.about("PATCH", "b", b"{}")) == (404, "notFound")
    assert bucket.download("a").data == b"1"


def test_metadata_do_not_grow_without_end(bucket: Bucket) -> None:
    bucket.put("a", b"1")
    statuses = []
    for number in range(5):
        body = json.dumps({"metadata": {f"{number}": "x" * 20_000}}).encode()
        statuses.append(bucket.about("PATCH", "a", body).status)
    assert statuses == [200, 200, 200, 400, 400]


def test_a_deletion(bucket: Bucket) -> None:
    resource = bucket.put("d/a", b"1")
    stale = bucket.about("DELETE", "d/a", ifGenerationMatch=1)
    assert reason(stale) == (412, "conditionNotMet")
    generation = resource["generation"]
    assert bucket.about("DELETE", "d/a", ifGenerationMatch=generation).status == 204
    assert reason(bucket.about("DELETE", "d/a")) == (404, "notFound")
    assert not any(bucket.folder.iterdir())
    assert int(bucket.put("d/a", b"1")["generation"]) > int(generation)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("PUT", "/storage/v1/b/{b}"),
        ("PATCH", "/storage/v1/b/{b}"),
        ("GET", "/storage/v1/b/{b}/iam"),
        ("GET", "/storage/v1/b/{b}/"),
        ("POST", "/storage/v1/b/{b}/o/a/rewriteTo/b/{b}/o/b"),
        ("POST", "/storage/v1/b/{b}/o/a/compose"),
        ("GET", "/upload/storage/v1/b/{b}/o"),
        ("POST", "/download/storage/v1/b/{b}/o/a"),
        ("GET", "/storage/v1/b//o"),
    ],
)
def test_methods_that_there_are_not(bucket: Bucket, verb: str, path: str) -> None:
    answer = bucket.request(verb, path.format(b=bucket.name))
    assert answer.status in (404, 501)
    assert reason(answer)[1] in ("notFound", "notImplemented")


def test_a_name_that_is_no_text(bucket: Bucket) -> None:
    answer = bucket.request("GET", f"/storage/v1/b/{bucket.name}/o/%ff")
    assert reason(answer) == (400, "invalid")


def test_other_paths_are_the_page(bucket: Bucket) -> None:
    for path in ("/storage/v1/bx", "/storage/v1", "/storage/v1/projects/p/serviceAccount"):
        answer = bucket.request("GET", path)
        assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=UTF-8")


def test_without_a_folder(client: Client, shared_emulator: Emulator) -> None:
    nothing = Bucket(shared_emulator, Path("/nonexistent/scans"))
    assert nothing.request("GET", "/storage/v1/b").json() == {"kind": "storage#buckets"}
    assert reason(create(nothing, "new-one")) == (501, "notImplemented")
    assert reason(nothing.upload("a", b"1")) == (404, "notFound")
    assert reason(nothing.about("GET")) == (404, "notFound")
    assert reason(nothing.about("GET", "a")) == (404, "notFound")
    nothing.pool.clear()


def test_many_at_once(bucket: Bucket) -> None:
    """Objects come and go in one folder, and each answer is true."""
    statuses: list[int] = []

    def come_and_go(number: int) -> None:
        for _ in range(5):
            statuses.append(bucket.upload(f"d/{number}", b"1").status)
            statuses.append(bucket.about("DELETE", f"d/{number}").status - 4)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert not any(bucket.folder.iterdir())


def test_one_of_many_is_first(bucket: Bucket) -> None:
    """A precondition and what it guards are one step."""
    answers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(bucket.upload("a", b"1", ifGenerationMatch=0).status)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, *[412] * 7]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/storage/v1/b/scans/o/Doe/John.dcm", "/storage/v1/b/scans/o/…"),
        ("/download/storage/v1/b/scans/o/Doe\nJohn", "/download/storage/v1/b/scans/o/…"),
        ("/storage/v1/b/scans/o", "/storage/v1/b/scans/o"),
        ("/v1/projects/p/locations/l", "/v1/projects/p/locations/l"),
    ],
)
def test_names_of_objects_are_not_shown(path: str, shown: str) -> None:
    assert shown_path(path) == shown


def test_the_page_does_not_show_them(bucket: Bucket) -> None:
    bucket.put("Doe-John.dcm")
    bucket.about("GET", "Doe-John.dcm")
    bucket.download("Doe-John.dcm")
    overview = bucket.request("GET", "/emulator/overview").data.decode()
    assert f"/storage/v1/b/{bucket.name}/o/" in overview
    assert "Doe" not in overview


def test_a_folder_that_is_made_with_the_first_bucket(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path, buckets=tmp_path / "a" / "b")
    with Emulator(options) as emulator:
        made = Bucket(emulator, tmp_path / "a" / "b" / "scans")
        assert "items" not in made.request("GET", "/storage/v1/b").json()
        assert reason(made.about("GET")) == (404, "notFound")
        assert create(made, "scans").status == 200
        made.put("Doe-John.dcm")
        made.pool.clear()
