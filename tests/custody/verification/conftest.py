"""An emulator, and for each test a store of its own with the worker's client of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pydicom
import pytest
import urllib3
from pydicom.filebase import DicomBytesIO

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.emulator.pytest_plugin import (
    _fault_settings_put_back,
    dicom_store,
    healthcare_emulator,
)
from orthanc_gcp.transport.authorization import Authorization

__all__ = [
    "_fault_settings_put_back",
    "dicom_store",
    "healthcare_emulator",
]


@pytest.fixture
def store(dicom_store: Any) -> Iterator[DicomStore]:
    made = DicomStore(dicom_store.dicomweb_url, lambda: Authorization(dicom_store.token()))
    yield made
    made.close()


@pytest.fixture
def faults(healthcare_emulator: Any) -> Callable[..., None]:
    """Sets the emulator's fault settings."""
    change: Callable[..., None] = healthcare_emulator.fault_settings.change
    return change


@pytest.fixture
def stow(dicom_store: Any) -> Iterator[Callable[[bytes], None]]:
    """Stores a file as anybody may."""
    http = urllib3.PoolManager(retries=False)

    def stow(content: bytes) -> None:
        headers = {**dicom_store.headers, "Content-Type": "application/dicom"}
        url = f"{dicom_store.dicomweb_url}/studies"
        assert http.request("POST", url, body=content, headers=headers).status == 200

    yield stow
    http.clear()


@pytest.fixture
def delete(dicom_store: Any) -> Iterator[Callable[[bytes], None]]:
    """Deletes the instance of a file from the store."""
    http = urllib3.PoolManager(retries=False)

    def delete(content: bytes) -> None:
        url = f"{dicom_store.dicomweb_url}{path_of(content)}"
        assert http.request("DELETE", url, headers=dicom_store.headers).status == 200

    yield delete
    http.clear()


def path_of(content: bytes) -> str:
    one = pydicom.dcmread(DicomBytesIO(content), stop_before_pixels=True)
    uids = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    return "/studies/{}/series/{}/instances/{}".format(*uids)
