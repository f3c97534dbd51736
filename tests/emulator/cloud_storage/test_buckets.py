"""The folder that stands for Cloud Storage: addresses, wildcards, and nothing outside of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.emulator.cloud_storage.buckets import (
    UNFINISHED,
    Buckets,
    NotEmptyError,
    UnavailableError,
)
from orthanc_gcp.emulator.cloud_storage.object_uri import ObjectUri
from tests.emulator.client import Client, make_dicom, read
from tests.emulator.healthcare.buckets import Place, counter

NAMES = ("a.dcm", "b.dcm", "bb.dcm", "note.txt", "d/a.dcm", "d/e/c.dcm")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.dcm", {"a.dcm"}),
        ("*.dcm", {"a.dcm", "b.dcm", "bb.dcm"}),
        ("?.dcm", {"a.dcm", "b.dcm"}),
        ("*/*.dcm", {"d/a.dcm"}),
        ("**", set(NAMES)),
        ("**.dcm", set(NAMES) - {"note.txt"}),
        ("d/**", {"d/a.dcm", "d/e/c.dcm"}),
        ("d/*/?.dcm", {"d/e/c.dcm"}),
        ("*o*e*t*", {"note.txt"}),
        ("?*?.*", {"bb.dcm", "note.txt"}),
    ],
)
def test_what_wildcards_mean(place: Place, pattern: str, names: set[str]) -> None:
    files = {name: read(place.put(name, make_dicom())).SOPInstanceUID for name in NAMES}
    done = place.load(f"gs://scans/{pattern}")
    assert counter(done) == {"success": str(len(names))}
    assert place.ids() == {files[name] for name in names}
    package = "google.cloud.healthcare.v1.dicom"
    assert done["metadata"]["apiMethodName"] == f"{package}.DicomService.ImportDicomData"
    assert done["response"] == {"@type": f"type.googleapis.com/{package}.ImportDicomDataResponse"}


def test_many_wildcards(place: Place) -> None:
    """None of them is tried in all combinations with the others, which would take for ever."""
    place.put("a" * 200, make_dicom())
    assert refusal(place, f"gs://scans/{'a*' * 90}b") == 400


def refusal(place: Place, uri: str) -> int:
    status, answer = place.begin("import", {"gcsSource": {"uri": uri}})
    assert answer["error"]["code"] == status
    return status


UNUSABLE = ["", "scans/a", "s3://scans/a", "gs://", "gs://S/a", "gs://../a", "gs://scans/../a"]
UNUSABLE += ["gs://scans/./a", "gs://scans//a", "gs://scans/a\0", None, 7]


@pytest.mark.parametrize("uri", [*UNUSABLE, "gs://scans", "gs://scans/**/a", "gs://scans/*/**"])
def test_sources_that_cannot_be(place: Place, uri: Any) -> None:
    status, answer = place.begin("import", {"gcsSource": {"uri": uri}})
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("uri", UNUSABLE)
def test_destinations_that_cannot_be(place: Place, uri: Any) -> None:
    status, answer = place.begin("export", {"gcsDestination": {"uriPrefix": uri}})
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    filtered = {
        "gcsDestination": {"uriPrefix": "gs://scans"},
        "filterConfig": {"resourcePathsGcsUri": uri},
    }
    assert place.begin("export", filtered)[0] == 400


def test_nothing_leads_out_of_the_folder(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.dcm").write_bytes(make_dicom())
    (place.bucket / "folder").symlink_to(secret)
    (place.bucket / "file").symlink_to(secret / "a.dcm")
    (place.bucket.parent / "bucket").symlink_to(secret)
    os.mkfifo(place.bucket / "pipe")
    for name in ("folder/a.dcm", "folder/**", "file", "pipe", "folder", "**"):
        assert refusal(place, f"gs://scans/{name}") == 400
    assert refusal(place, "gs://bucket/**") == 403
    place.client.store(make_dicom())
    for uri in ("gs://scans/folder", "gs://scans/file", "gs://bucket"):
        assert place.save(uri)["error"]["code"] == 7
    assert [path.name for path in secret.iterdir()] == ["a.dcm"]
    assert len(place.ids()) == 1


def test_without_a_folder_there_are_no_buckets(client: Client) -> None:
    url = f"{client.url}/v1/{client.store_name}:import"
    body = json.dumps({"gcsSource": {"uri": "gs://scans/**"}}).encode()
    error = client.request("POST", url, body).json()["error"]
    assert (error["code"], error["message"]) == (403, "no such bucket: scans")


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    (tmp_path / "scans").mkdir()
    return Buckets(tmp_path)


def put(buckets: Buckets, name: str, content: bytes = b"x") -> None:
    with buckets.create(ObjectUri("scans", name)) as file:
        file.write(content)


def test_the_order_is_that_of_whole_names(buckets: Buckets) -> None:
    names = ["a-b", "a/b-c", "a/b/c", "a/b0", "a0", "b", "é", "😀"]
    for name in reversed(names):
        put(buckets, name)
    assert list(buckets.object_names("scans")) == names == sorted(names, key=str.encode)
    for after in [*names, "", "a/", "a/b", "a/b/", "a/z", "zz"]:
        found = list(buckets.object_names("scans", after=after))
        assert found == [name for name in names if name > after]
    for prefix in ["a", "a/", "a/b", "a/b/", "b", "x", "é"]:
        found = list(buckets.object_names("scans", prefix))
        assert found == [name for name in names if name.startswith(prefix)]


def test_an_object_is_there_when_it_is_whole(buckets: Buckets, tmp_path: Path) -> None:
    put(buckets, "a/b", b"old")
    with pytest.raises(ValueError, match="no"), buckets.create(ObjectUri("scans", "a/b")) as file:
        file.write(b"new")
        assert list(buckets.object_names("scans")) == ["a/b"]
        raise ValueError("no")
    assert (tmp_path / "scans" / "a" / "b").read_bytes() == b"old"
    assert list((tmp_path / UNFINISHED).iterdir()) == []


def test_a_deletion_takes_empty_folders_along(buckets: Buckets, tmp_path: Path) -> None:
    for name in ("a/b/c", "a/d"):
        put(buckets, name)
    buckets.delete(ObjectUri("scans", "a/b/c"))
    assert sorted(path.name for path in (tmp_path / "scans").rglob("*")) == ["a", "d"]
    buckets.delete(ObjectUri("scans", "a/d"))
    assert not any((tmp_path / "scans").iterdir())
    put(buckets, "a")
    for name in ("a/b", "b"):
        with pytest.raises(UnavailableError):
            buckets.delete(ObjectUri("scans", name))


def test_a_file_and_a_folder_of_one_name(buckets: Buckets, tmp_path: Path) -> None:
    put(buckets, "a/b")
    for name in ("a", "a/b/c"):
        with pytest.raises(UnavailableError):
            put(buckets, name)
    assert list(buckets.object_names("scans")) == ["a/b"]
    assert list((tmp_path / UNFINISHED).iterdir()) == []


def test_buckets_come_and_go(buckets: Buckets, tmp_path: Path) -> None:
    (tmp_path / "NO-BUCKET").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    (tmp_path / "file").write_bytes(b"")
    buckets.create_bucket("more")
    put(buckets, "a")
    assert buckets.names() == ["more", "scans"]
    with pytest.raises(FileExistsError):
        buckets.create_bucket("more")
    buckets.delete_bucket("more")
    with pytest.raises(NotEmptyError):
        buckets.delete_bucket("scans")
    for name in ("more", "link", "file", "..", UNFINISHED):
        with pytest.raises(UnavailableError):
            buckets.delete_bucket(name)


def test_what_was_abandoned_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / UNFINISHED / "old", tmp_path / UNFINISHED / "new"
    old.parent.mkdir()
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    Buckets(tmp_path)
    assert not old.exists()
    assert new.exists()


def test_names_that_are_no_text(buckets: Buckets, tmp_path: Path) -> None:
    (tmp_path / "scans" / os.fsdecode(b"\xff")).mkdir()
    (tmp_path / "scans" / "a\nb").write_bytes(b"")
    put(buckets, "c")
    assert list(buckets.object_names("scans")) == ["c"]


def test_a_folder_below_too_many(buckets: Buckets, tmp_path: Path) -> None:
    deep = tmp_path.joinpath("scans", *("a" * 150))
    deep.mkdir(parents=True)
    (deep / "b").write_bytes(b"")
    put(buckets, "/".join("a" * 99 + "b"))
    assert len(list(buckets.object_names("scans"))) == 1
