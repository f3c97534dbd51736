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
        ("/studies", "00080060=CT"),
        ("/instances", "nonsense=1"),
        ("/instances", "Modality=CT&00080060=MR"),
        ("/studies", "includefield=0010001F"),
        ("/studies", "fuzzymatching=maybe"),
        ("/studies", "limit=x"),
        ("/studies", "limit=-1"),
        ("/studies", "limit=5001"),
        ("/series", "limit=5001"),
        ("/instances", "limit=50001"),
        ("/studies", "offset=1000001"),
        ("/studies", "limit=99999999999999999999"),
        ("/studies", "limit=0000000000000000005001"),
        ("/studies", f"limit={'9' * 5000}"),
    ],
)
def test_what_is_not_supported(client: Client, path: str, parameter: str) -> None:
    response = client.get(f"{path}?{parameter}")
    assert response.status == 400
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.data


@pytest.mark.parametrize("place", ["", f"/studies/{STUDY}"], ids=["of a store", "of a study"])
@pytest.mark.parametrize("key", ["SOPClassUID", "00080016"])
def test_a_refused_key_is_called_by_its_keyword(client: Client, place: str, key: str) -> None:
    """wsidicom and large-image know Google by this text."""
    query = {key: "1.2.840.10008.5.1.4.1.1.77.1.6", "0020000E": SERIES[0], "00080060": "SM"}
    response = client.get(f"{place}/instances", includefield="StudyDate", **query)
    assert response.status == 400
    assert response.data == b"SOPClassUID is not a supported instance or series attribute"


def test_numbers_with_thousands_of_zeros(client: Client) -> None:
    assert len(client.search(f"/studies?limit={'0' * 5000}1&offset={'0' * 5000}")) == 1


def test_what_is_said_of_keys_at_each_level(client: Client) -> None:
    texts = {
        ("/studies", "00081030"): b"StudyDescription is not a supported study level attribute",
        ("/series", "SeriesNumber"): b"SeriesNumber is not a supported series level attribute",
        ("/series", "nonsense"): b"unknown/unsupported QIDO attribute: nonsense",
    }
    for (path, key), text in texts.items():
        assert client.get(path, **{key: "1"}).data == text


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("AvailableTransferSyntaxUID", "AvailableTransferSyntaxUID"),
        ("00083002", "AvailableTransferSyntaxUID"),
        ("PatientName,00083002", "AvailableTransferSyntaxUID"),
        ("QueryRetrieveLevel", "QueryRetrieveLevel"),
        ("MessageID", "MessageID"),
        ("FileSetID", "FileSetID"),
        ("FFFEE000", "Item"),
        ("Nonsense", "Nonsense"),
    ],
)
def test_fields_that_no_file_has(client: Client, field: str, named: str) -> None:
    for path in ("/studies", "/series", "/instances"):
        response = client.get(path, includefield=field)
        assert response.status == 400
        assert response.data.decode() == f"unknown/unsupported QIDO attribute: {named}"


def test_a_key_has_one_value(client: Client) -> None:
    response = client.get(f"/instances?0020000E={SERIES[0]}&SeriesInstanceUID={SERIES[1]}")
    assert response.data == b"SeriesInstanceUID can have one value only"


def test_the_parameters_of_every_google_method_are_ignored(client: Client) -> None:
    assert len(client.search("/studies", alt="json", prettyPrint="false", key="x")) == 3
