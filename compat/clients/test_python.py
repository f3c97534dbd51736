"""Libraries for Python beyond pathology, and the command of dicomweb-client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compat.clients.conftest import store
from compat.clients.environments import run_client_command, run_program
from orthanc_gcp.emulator.pytest_plugin import DicomStore
from tests.emulator.client import read, sample


@pytest.fixture
def wanted(dicom_store: DicomStore, tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "image.dcm"
    file.write_bytes(sample("CT_small.dcm"))
    return {
        "dicomweb": dicom_store.dicomweb_url,
        "token": dicom_store.token(),
        "credentials": str(dicom_store.credentials_file),
        "file": str(file),
    }


def test_segmentations_of_highdicom(wanted, tmp_path):
    facts = run_program("highdicom_objects.py", wanted, tmp_path)
    expected = {
        "binary": ("1.2.840.10008.1.2.1", 128 * 128 // 8),
        "fractional": ("1.2.840.10008.1.2.5", 128 * 128),
        "labelmap": ("1.2.840.10008.1.2.5", 128 * 128),
    }
    for name, (syntax, length) in expected.items():
        made = {"same": True, "syntax": syntax, "label": "bright", "frame": length}
        assert facts[name] == made


def test_the_imaging_toolkit_of_google(wanted, tmp_path):
    facts = run_program("healthcare_toolkit.py", wanted, tmp_path)
    assert (facts["file"], facts["frame"]) == (True, True)
    assert facts["instances"] == facts["expected"]
    assert facts["left"] == []


def test_dicomtrolley(dicom_store, wanted, tmp_path):
    store(dicom_store, sample("CT_small.dcm"), sample("MR_small.dcm"))
    dataset = read(sample("CT_small.dcm"))
    asked = {**wanted, "patient": dataset.PatientID}
    assert run_program("dicomtrolley_study.py", asked, tmp_path) == {
        "studies": [dataset.StudyInstanceUID],
        "series": [dataset.SeriesInstanceUID],
        "instances": [dataset.SOPInstanceUID],
        "pixels": [dataset.PixelData.hex()],
    }


def test_the_command_of_dicomweb_client(wanted, tmp_path):
    dataset = read(sample("CT_small.dcm"))
    common = ("dicomweb_client", "--url", wanted["dicomweb"], "--bearer-token", wanted["token"])

    def run(*arguments: str) -> str:
        return run_client_command(tmp_path, *common, *arguments)

    run("store", "instances", wanted["file"])
    (study,) = json.loads(run("search", "studies"))
    assert study["0020000D"]["Value"] == [dataset.StudyInstanceUID]
    place = ("--study", dataset.StudyInstanceUID, "--series", dataset.SeriesInstanceUID)
    instance = (*place, "--instance", dataset.SOPInstanceUID)
    assert json.loads(run("retrieve", "instances", *instance, "metadata"))
    (tmp_path / "out").mkdir()
    run("retrieve", "instances", *instance, "full", "--save", "--output-dir", str(tmp_path / "out"))
    (file,) = (tmp_path / "out").iterdir()
    assert read(file.read_bytes()) == dataset
