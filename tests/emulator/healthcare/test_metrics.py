"""Metrics of stores, studies and series, and the storage info of instances."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
from pydicom.uid import generate_uid

from tests.emulator.client import Client, make_dicom, path_of, read

DATASET = "projects/osimis-test/locations/europe-west2/datasets/test"


@pytest.fixture
def files(client: Client) -> list[bytes]:
    study, series = generate_uid(), generate_uid()
    same = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    files = [
        make_dicom(**same),
        make_dicom(bytes(1000), **same),
        make_dicom(StudyInstanceUID=study),
        make_dicom(),
    ]
    assert client.store(*files).status == 200
    return files


def without_structured_size(metrics: dict[str, Any]) -> dict[str, Any]:
    assert int(metrics.pop("structuredStorageSizeBytes")) > 0
    return metrics


def test_what_a_store_holds(client: Client, files: list[bytes]) -> None:
    url = f"{client.url}/v1/{client.store_name}:getDICOMStoreMetrics"
    assert without_structured_size(client.get(url).json()) == {
        "name": client.store_name,
        "studyCount": "2",
        "seriesCount": "3",
        "instanceCount": "4",
        "blobStorageSizeBytes": str(sum(map(len, files))),
    }


def test_an_empty_store(client: Client) -> None:
    url = f"{client.url}/v1/{client.store_name}:getDICOMStoreMetrics"
    assert client.get(url).json() == {"name": client.store_name}
    assert client.get(url.replace(":get", "x:get")).status == 404


def test_what_a_study_and_a_series_hold(client: Client, files: list[bytes]) -> None:
    series = path_of(read(files[0])).partition("/instances")[0]
    study = series.partition("/series")[0]
    name = f"{client.store_name}/dicomWeb"
    assert without_structured_size(client.get(f"{study}:getStudyMetrics").json()) == {
        "study": f"{name}{study}",
        "seriesCount": "2",
        "instanceCount": "3",
        "blobStorageSizeBytes": str(sum(map(len, files[:3]))),
    }
    assert without_structured_size(client.get(f"{series}:getSeriesMetrics").json()) == {
        "series": f"{name}{series}",
        "instanceCount": "2",
        "blobStorageSizeBytes": str(sum(map(len, files[:2]))),
    }


def test_how_an_instance_is_stored(client: Client, files: list[bytes]) -> None:
    path = path_of(read(files[1]))
    info = client.get(f"{path}:getStorageInfo").json()
    updated = datetime.fromisoformat(info["blobStorageInfo"].pop("storageClassUpdateTime"))
    assert abs(updated.timestamp() - time.time()) < 60
    assert int(info["structuredStorageInfo"].pop("sizeBytes")) > 0
    assert info == {
        "referencedResource": f"{client.store_name}/dicomWeb{path}",
        "blobStorageInfo": {"sizeBytes": str(len(files[1])), "storageClass": "STANDARD"},
        "structuredStorageInfo": {},
    }


def test_what_is_not_there(client: Client, files: list[bytes]) -> None:
    instance = path_of(read(files[0]))
    series = instance.partition("/instances")[0]
    for path in (
        "/studies/1.2:getStudyMetrics",
        f"{series}9:getSeriesMetrics",
        f"{instance}9:getStorageInfo",
    ):
        response = client.get(path)
        assert response.status == 403
        assert path in response.json()["error"]["message"]
    assert client.get(f"{series}:getStudyMetrics").status == 404
