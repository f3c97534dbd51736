"""QIDO-RS: keys, attributes, pages."""

from __future__ import annotations

import json

import pytest
from pydicom.uid import generate_uid

from tests.emulator.client import DICOM_JSON, Client, make_dicom, read, sample

STUDY = generate_uid()
SERIES = [generate_uid(), generate_uid()]
DEFAULT_STUDY = {"00080020", "00100010", "00100020", "0020000D"}


@pytest.fixture(autouse=True)
def content(client: Client) -> None:
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


def values(client: Client, path: str, tag: str, **query: str) -> list[str]:
    return [match[tag]["Value"][0] for match in client.search(path, **query)]


def test_studies(client: Client) -> None:
    response = client.get("/studies")
    assert response.headers["content-type"] == DICOM_JSON
    matches = json.loads(response.data)
    assert len(matches) == 3
    assert set(matches[0]) == DEFAULT_STUDY
    assert matches[0]["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]}
    # What is there without a value is returned without a value.
    assert matches[2]["00080050"] == {"vr": "SH"}


def test_all_six_paths(client: Client) -> None:
    assert len(client.search("/studies")) == 3
    assert len(client.search("/series")) == 4
    assert len(client.search("/instances")) == 5
    assert len(client.search(f"/studies/{STUDY}/series")) == 2
    assert len(client.search(f"/studies/{STUDY}/instances")) == 3
    assert len(client.search(f"/studies/{STUDY}/series/{SERIES[0]}/instances")) == 2


def test_levels_above_are_returned_unless_the_path_names_them(client: Client) -> None:
    series = client.search(f"/studies/{STUDY}/series")[0]
    assert set(series) == {"00080060", "0020000E"}
    assert client.search("/series")[0].keys() == DEFAULT_STUDY | series.keys()
    instance = client.search(f"/studies/{STUDY}/series/{SERIES[0]}/instances")[0]
    assert set(instance) == {"00080016", "00080018"}
    within = client.search(f"/studies/{STUDY}/instances")[0]
    assert within.keys() == series.keys() | instance.keys()
    assert client.search("/instances")[0].keys() == DEFAULT_STUDY | within.keys()


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"PatientID": "P1"}, 1),
        ({"00100020": "P2"}, 1),
        ({"PatientID": "P*"}, 0),
        ({"PatientID": ""}, 3),
        ({"PatientID": "p1"}, 0),
        ({"PatientName": "Doe^John"}, 1),
        ({"PatientName": "Doe"}, 0),
        ({"AccessionNumber": "A2"}, 1),
        ({"ReferringPhysicianName": "House^G"}, 1),
        ({"StudyInstanceUID": STUDY}, 1),
        ({"0020000d": STUDY}, 1),
        ({"StudyDate": "20200229"}, 1),
        ({"StudyDate": "20200101-20201231"}, 1),
        ({"StudyDate": "20200229-"}, 2),
        ({"StudyDate": "-20200229"}, 2),
        ({"StudyDate": "20200229-20200229", "PatientID": "P1"}, 1),
        ({"StudyDate": "20200229", "PatientID": "P2"}, 0),
    ],
)
def test_study_keys(client: Client, query: dict[str, str], count: int) -> None:
    assert len(client.search("/studies", **query)) == count


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("jo", 1),
        ("Do", 2),
        ("John Doe", 1),
        ("ohn", 0),
        ("doring", 1),
        ("maria", 1),
        ("DÖRING^ANNA", 1),
        ("x", 0),
        ("^", 0),
    ],
)
def test_fuzzy_names(client: Client, name: str, count: int) -> None:
    assert len(client.search("/studies", PatientName=name, fuzzymatching="true")) == count


def test_series_and_instance_keys(client: Client) -> None:
    assert values(client, "/series", "0020000E", Modality="MR") == [SERIES[1]]
    assert values(client, "/series", "00080060", SeriesInstanceUID=SERIES[0]) == ["CT"]
    assert len(client.search("/instances", Modality="CT", PatientID="P1")) == 2
    uid = read(sample("CT_small.dcm")).SOPInstanceUID
    assert values(client, "/instances", "00080018", SOPInstanceUID=uid) == [uid]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/studies", "Modality=CT"),
        ("/studies", "SeriesInstanceUID=1"),
        ("/studies", "ModalitiesInStudy=CT"),
        ("/studies", "orderby=StudyDate"),
        ("/studies", "sort=x"),
        ("/series", "SOPInstanceUID=1"),
        ("/instances", "SOPClassUID=1"),
        ("/instances", "00080016=1"),
        ("/instances", "nonsense=1"),
        ("/studies", "includefield=Nonsense"),
        ("/studies", "includefield=0010001F"),
        ("/studies", "fuzzymatching=maybe"),
        ("/studies", "limit=x"),
        ("/studies", "limit=-1"),
        ("/studies", "limit=5001"),
        ("/series", "limit=5001"),
        ("/instances", "limit=50001"),
        ("/studies", "offset=1000001"),
        ("/studies", "limit=99999999999999999999"),
    ],
)
def test_what_is_not_supported(client: Client, path: str, parameter: str) -> None:
    response = client.get(f"{path}?{parameter}")
    assert response.status == 400
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.data


def test_the_parameters_of_every_google_method_are_ignored(client: Client) -> None:
    assert len(client.search("/studies", alt="json", prettyPrint="false", key="x")) == 3


def test_no_match_has_no_body(client: Client) -> None:
    response = client.get("/studies", PatientID="nobody")
    assert (response.status, response.data) == (204, b"")
    assert client.get("/studies/1.2.3/series").status == 204


def test_pages(client: Client) -> None:
    everything = values(client, "/instances", "00080018")
    pages = [
        uid
        for offset in range(0, 6, 2)
        for uid in values(client, "/instances", "00080018", limit="2", offset=str(offset))
    ]
    assert pages == everything
    assert client.search("/instances", limit="0") == []


def test_include_fields(client: Client) -> None:
    # In the index, in a file only, of a lower level; by keyword, by tag, repeated, joined.
    query = "includefield=StudyDescription,00080060&includefield=BitsAllocated"
    matches = client.search(f"/studies?{query}")
    assert matches[0]["00081030"]["Value"] == ["Knee"]
    assert matches[0]["00080060"]["Value"] == ["CT"]
    assert matches[2]["00280100"]["Value"] == [16]
    assert "00281052" not in matches[2]
    matches = client.search("/series", includefield="RescaleIntercept")
    assert matches[3]["00281052"]["Value"] == [-1024.0]


def test_include_all(client: Client) -> None:
    study = client.search("/studies", includefield="all")[0]
    assert study["00081030"]["Value"] == ["Knee"]
    assert "00080060" not in study
    instance = client.search("/instances", includefield="all")[4]
    assert instance["00281052"]["Value"] == [-1024.0]
    assert instance["7FE00010"]["BulkDataURI"].endswith("/bulkdata/7FE00010")
    assert "00020010" not in instance


@pytest.mark.parametrize("accept", [DICOM_JSON, "application/json", "*/*", "application/*"])
def test_accepted(client: Client, accept: str) -> None:
    assert client.get("/studies", accept).headers["content-type"] == DICOM_JSON


def test_not_acceptable(client: Client) -> None:
    response = client.get("/studies", "text/html")
    assert response.status == 406
    assert b"accept-header must include one of application/dicom+json" in response.data
