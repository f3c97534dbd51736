"""Lists of data sets: which form a client gets, and how they are put together."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from pydicom.uid import generate_uid

from tests.emulator.client import DICOM_JSON, Client, make_dicom, path_of, read, split
from tests.emulator.dicom.test_dicom_xml import as_json

XML = "application/dicom+xml"
PARTS = f'multipart/related; type="{XML}"'


@pytest.mark.parametrize("path", ["", "/metadata"])
def test_a_part_for_each_data_set(client: Client, path: str) -> None:
    study = generate_uid()
    files = [make_dicom(StudyInstanceUID=study) for _ in range(3)]
    client.store(*files)
    if path:
        parts = split(client.get(f"/studies/{study}/metadata", PARTS))
    else:
        parts = split(client.get(f"/studies/{study}/instances", PARTS))
    uids = [as_json(ElementTree.fromstring(p))["00080018"]["Value"][0] for _, p in parts]
    assert uids == [read(file).SOPInstanceUID for file in files]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"{PARTS}, {DICOM_JSON}", PARTS),
        (f"{PARTS}; q=0.5, {DICOM_JSON}", DICOM_JSON),
        ("multipart/related", PARTS),
        (f"multipart/related; type={XML}", PARTS),
        ("*/*", DICOM_JSON),
    ],
)
def test_which_one_a_client_gets(client: Client, accept: str, expected: str) -> None:
    content = make_dicom()
    client.store(content)
    for path in ("/studies", f"{path_of(read(content))}/metadata"):
        content_type = client.get(path, accept).headers["content-type"]
        assert content_type.partition("; boundary")[0] == expected


@pytest.mark.parametrize("accept", [XML, 'multipart/related; type="application/dicom"'])
def test_not_acceptable(client: Client, accept: str) -> None:
    response = client.get("/studies", accept)
    assert response.status == 406
    assert response.data.decode().endswith(f"one of {DICOM_JSON}, {PARTS}")
