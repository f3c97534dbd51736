"""QIDO-RS: keys, attributes, pages."""

from __future__ import annotations

import json

import pytest

from tests.emulator.client import DICOM_JSON, Client
from tests.emulator.dicomweb.conftest import SERIES, STUDY

pytestmark = pytest.mark.usefixtures("content")

DEFAULT_STUDY = {"00080020", "00100010", "00100020", "0020000D"}


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
