"""Parameters of searches: which keys there are, and what they find."""

from __future__ import annotations

import pytest

from tests.emulator.client import Client, read, sample
from tests.emulator.dicomweb.conftest import SERIES, STUDY

pytestmark = pytest.mark.usefixtures("content")


def values(client: Client, path: str, tag: str, **query: str) -> list[str]:
    return [match[tag]["Value"][0] for match in client.search(path, **query)]


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
