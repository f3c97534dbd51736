"""Fixtures of the DICOMweb tests."""

from __future__ import annotations

import pytest
from pydicom.uid import generate_uid

from tests.emulator.client import Client, make_dicom, sample

STUDY = generate_uid()


SERIES = [generate_uid(), generate_uid()]


@pytest.fixture
def content(client: Client) -> None:
    """Three studies in the client's store: one with two series, others with one instance."""
    common = {"StudyInstanceUID": STUDY, "PatientID": "P1", "StudyDescription": "Knee"}
    files = [
        make_dicom(SeriesInstanceUID=SERIES[n // 2], Modality=("CT", "MR")[n // 2], **common)
        for n in range(3)
    ]
    other = make_dicom(
        PatientName="Döring^Anna Maria",
        SpecificCharacterSet="ISO_IR 192",
        PatientID="P2",
        AccessionNumber="A2",
        ReferringPhysicianName="House^G",
        StudyDate="20210101",
    )
    assert client.store(*files, other, sample("CT_small.dcm")).status == 200
