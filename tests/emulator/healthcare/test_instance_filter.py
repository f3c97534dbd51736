"""Which instances an operation is about: all, or those of a filter."""

from __future__ import annotations

import json

import pytest

from tests.emulator.client import make_dicom, path_of, read
from tests.emulator.healthcare.buckets import Place, counter, exported, object_of
from tests.emulator.raw_files import raw_file


@pytest.fixture
def family(place: Place) -> list[bytes]:
    """Two series of a study, and another study."""
    first = make_dicom()
    second = make_dicom(StudyInstanceUID=read(first).StudyInstanceUID)
    files = [first, second, make_dicom()]
    place.client.store(*files)
    return files


def test_a_filter_of_an_export(place: Place, family: list[bytes]) -> None:
    series = path_of(read(family[0])).partition("/instances")[0]
    lines = [series, path_of(read(family[2])), "/studies/1.2.3"]
    place.put("filter.txt", "\r\n".join(lines).encode())
    config = {"resourcePathsGcsUri": "gs://scans/filter.txt"}
    done = place.save("gs://scans/out", filterConfig=config)
    assert counter(done) == {"success": "2", "failure": "1"}
    assert set(exported(place, "out")) == {object_of(family[0]), object_of(family[2])}


def test_a_filter_of_storage_classes(place: Place, family: list[bytes]) -> None:
    study = path_of(read(family[0])).partition("/series")[0]
    place.put("filter.txt", f"{study}\n".encode())
    body = {
        "blobStorageSettings": {"blobStorageClass": "NEARLINE"},
        "filterConfig": {"resourcePathsGcsUri": "gs://scans/filter.txt"},
    }
    assert counter(place.run("setBlobStorageSettings", body)) == {"success": "2"}
    url = f"{study}:setBlobStorageSettings"
    assert place.client.request("POST", url, json.dumps(body).encode()).status == 400


@pytest.mark.parametrize(
    ("content", "code"), [(b"/series/1", 3), (b"/studies/1/x", 3), (b"\xff" * 5000, 3), (None, 7)]
)
def test_filters_that_cannot_be_read(place: Place, content: bytes | None, code: int) -> None:
    if content is not None:
        place.put("filter.txt", content)
    config = {"resourcePathsGcsUri": "gs://scans/filter.txt"}
    assert place.save("gs://scans/out", filterConfig=config)["error"]["code"] == code


def test_resources_whose_uids_are_percent_encoded(place: Place) -> None:
    files = [raw_file(b"a/b", b"1", b"1"), raw_file(b"a", b"..", b"x y")]
    place.client.store(*files, raw_file(b"b"), raw_file(b"9" * 300))
    lines = b"/studies/a%2Fb\n/studies/a/series/%2E%2E/instances/x%20y\n/studies/" + b"9" * 300
    place.put("filter.txt", lines)
    config = {"resourcePathsGcsUri": "gs://scans/filter.txt"}
    done = place.save("gs://scans/out", filterConfig=config)
    # A file cannot have a name of 300 characters.
    assert counter(done) == {"success": "2", "failure": "1"}
    names = ("a%2Fb/1/1.dcm", "a/%2E%2E/x%20y.dcm")
    assert exported(place, "out") == dict(zip(names, files, strict=True))
