"""The folder that stands for Cloud Storage: addresses, wildcards, and nothing outside of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.client import Client, make_dicom, read
from tests.emulator.healthcare.buckets import Place, counter
from tests.emulator.healthcare.test_operations import ended

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
    assert place.load(f"gs://scans/{'a*' * 90}b")["error"]["code"] == 3


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
        assert place.load(f"gs://scans/{name}")["error"]["code"] == 3
    assert place.load("gs://bucket/**")["error"]["code"] == 7
    place.client.store(make_dicom())
    for uri in ("gs://scans/folder", "gs://scans/file", "gs://bucket"):
        assert place.save(uri)["error"]["code"] == 7
    assert [path.name for path in secret.iterdir()] == ["a.dcm"]
    assert len(place.ids()) == 1


def test_without_a_folder_there_are_no_buckets(client: Client) -> None:
    url = f"{client.url}/v1/{client.store_name}:import"
    body = json.dumps({"gcsSource": {"uri": "gs://scans/**"}}).encode()
    name = client.request("POST", url, body).json()["name"]
    assert ended(client, name)["error"] == {"code": 7, "message": "no such bucket: scans"}
