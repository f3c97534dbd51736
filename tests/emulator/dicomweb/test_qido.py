"""QIDO-RS: keys, attributes, pages."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from orthanc_gcp.emulator.dicomweb import qido
from tests.emulator.client import DICOM_JSON, Client, make_dicom, read
from tests.emulator.dicomweb.conftest import SERIES, STUDY
from tests.emulator.raw_files import bulk, element, raw_file

pytestmark = pytest.mark.usefixtures("content")

XML_PARTS = 'multipart/related; type="application/dicom+xml"'
ADDED = {"00080056", "00081190"}
"""InstanceAvailability and RetrieveURL, which no file has."""
DEFAULT_STUDY = {"00080020", "00100010", "00100020", "0020000D"} | ADDED


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
    assert set(series) == {"00080060", "0020000E"} | ADDED
    assert client.search("/series")[0].keys() == DEFAULT_STUDY | series.keys()
    instance = client.search(f"/studies/{STUDY}/series/{SERIES[0]}/instances")[0]
    assert set(instance) == {"00080016", "00080018"} | ADDED
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


@pytest.mark.parametrize("level", ["studies", "series", "instances"])
@pytest.mark.parametrize("bound", ["_MAX_ROWS", "_MAX_SIZE"])
def test_many_rows_are_read_a_few_at_a_time(
    client: Client, monkeypatch: pytest.MonkeyPatch, level: str, bound: str
) -> None:
    queries: list[dict[str, str]] = [
        {},
        {"limit": "2", "offset": "1"},
        {"limit": "3"},
        {"PatientID": "P1"},
        {"includefield": "all"},
        {"includefield": "BitsAllocated", "offset": "1"},
    ]
    at_once = [client.search(f"/{level}", **query) for query in queries]
    monkeypatch.setattr(qido, bound, 1)
    assert [client.search(f"/{level}", **query) for query in queries] == at_once
    assert client.get(f"/{level}", PatientID="nobody").status == 204


def test_memory_does_not_grow_with_what_matches_have_in_common(client: Client) -> None:
    other = client.of_new_store()
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2." + "3" * 50
    reference.ReferencedSOPInstanceUID = "1.2." + "4" * 50
    many = make_dicom(ReferencedStudySequence=[reference] * 4000, **uids)
    other.store(many, *(make_dicom(**uids) for _ in range(60)))
    tracemalloc.start()
    assert len(other.search("/instances")) == 61
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(many)


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
    assert instance["00020010"]["Value"] == ["1.2.840.10008.1.2.1"]
    assert instance.keys() >= ADDED


@pytest.mark.parametrize("name", ["00020010", "TransferSyntaxUID"])
def test_include_file_meta_information(client: Client, name: str) -> None:
    expected = {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    for path in ("/studies", "/series", "/instances"):
        assert [match["00020010"] for match in client.search(path, includefield=name)]
        assert client.search(path, includefield=name)[0]["00020010"] == expected
    assert "00020010" not in client.search("/instances")[0]


def test_include_bulk_data(client: Client) -> None:
    for path in ("/studies", "/series", "/instances"):
        for match in client.search(path, includefield="PixelData"):
            url = match["7FE00010"]["BulkDataURI"]
            assert url.startswith(match["00081190"]["Value"][0])
            assert client.get(url, "application/octet-stream").status == 200


def test_where_each_match_is_retrieved(client: Client) -> None:
    series, instances = f"/studies/{STUDY}/series", f"/studies/{STUDY}/series/{SERIES[0]}/instances"
    below = client.search(instances)[0]["00080018"]["Value"][0]
    expected = {
        "/studies": f"/studies/{STUDY}",
        "/series": f"{series}/{SERIES[0]}",
        series: f"{series}/{SERIES[0]}",
        "/instances": f"{instances}/{below}",
        f"/studies/{STUDY}/instances": f"{instances}/{below}",
        instances: f"{instances}/{below}",
    }
    for path, url in expected.items():
        match = client.search(path)[0]
        assert match["00081190"] == {"vr": "UR", "Value": [client.web + url]}
        assert match["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
        assert list(match) == sorted(match)
        assert client.get(f"{match['00081190']['Value'][0]}/metadata").status == 200


def test_the_address_of_a_match_is_what_the_client_asked_for(client: Client) -> None:
    for host in ("localhost:1234", "healthcare.googleapis.com", "[::1]:8080"):
        head = {"Authorization": f"Bearer {client.token}", "Host": host}
        # Nothing says who may be believed what these say.
        head |= {"X-Forwarded-Host": "example.com", "X-Forwarded-Proto": "https"}
        for accept in (DICOM_JSON, XML_PARTS):
            answer = client.pool.request(
                "GET",
                f"{client.web}/instances?includefield=all&limit=1",
                headers={**head, "Accept": accept},
            )
            web = client.web.replace(client.url, f"http://{host}")
            assert answer.data.count(f"{web}/studies/{STUDY}/series/".encode()) == 3


@pytest.mark.parametrize("accept", [DICOM_JSON, "application/json", "*/*", "application/*"])
def test_accepted(client: Client, accept: str) -> None:
    assert client.get("/studies", accept).headers["content-type"] == DICOM_JSON


def test_not_acceptable(client: Client) -> None:
    response = client.get("/studies", "text/html")
    assert response.status == 406
    assert b"accept-header must include one of application/dicom+json" in response.data


def test_the_match_of_a_study_that_says_nothing(client: Client) -> None:
    """As Google's dcmweb expects it of the live service, and two attributes since 2025."""
    more = "StudyTime AccessionNumber ReferringPhysicianName PatientBirthDate PatientSex StudyID"
    empty = dict.fromkeys(more.split(), "")
    other = client.of_new_store()
    content = make_dicom(StudyDate="", PatientName="", PatientID="", **empty)
    other.store(content)
    study = str(read(content).StudyInstanceUID)
    assert json.loads(other.get("/studies").data) == [
        {
            "00080020": {"vr": "DA"},
            "00080030": {"vr": "TM"},
            "00080050": {"vr": "SH"},
            "00080056": {"vr": "CS", "Value": ["ONLINE"]},
            "00080090": {"vr": "PN"},
            "00081190": {"vr": "UR", "Value": [f"{other.web}/studies/{study}"]},
            "00100010": {"vr": "PN"},
            "00100020": {"vr": "LO"},
            "00100030": {"vr": "DA"},
            "00100040": {"vr": "CS"},
            "0020000D": {"vr": "UI", "Value": [study]},
            "00200010": {"vr": "SH"},
        }
    ]


def test_what_a_file_says_about_itself_is_not_believed(client: Client) -> None:
    other = client.of_new_store()
    other.store(make_dicom(InstanceAvailability="OFFLINE", RetrieveURL="http://example.com/"))
    for query in ({}, {"includefield": "all"}, {"includefield": "RetrieveURL"}):
        (match,) = other.search("/instances", **query)
        assert match["00080056"]["Value"] == ["ONLINE"]
        assert match["00081190"]["Value"][0].startswith(other.web)


def test_bulk_data_of_a_level_has_an_address(client: Client) -> None:
    """What the index has of a study may have bulk data in its sequences."""
    other = client.of_new_store()
    item = bulk(0x00420011, b"%PDF")
    item = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    sequence = b"\x08\x00\x32\x10SQ\0\0" + len(item).to_bytes(4, "little") + item
    content = raw_file(b"a/b", b"1", b"2")
    name = element(0x00100010, "PN", b"Doe^John", b" ")
    other.store(content.replace(name, sequence + name))
    for query in ({"includefield": "all"}, {"includefield": "ProcedureCodeSequence"}):
        (match,) = other.search("/studies", **query)
        url = match["00081032"]["Value"][0]["00420011"]["BulkDataURI"]
        path = "/studies/a%2Fb/series/1/instances/2/bulkdata/00081032/0/00420011"
        assert url == other.web + path
        assert other.get(url, "application/octet-stream").data == b"%PDF"


def test_elements_out_of_order(client: Client) -> None:
    other = client.of_new_store()
    name = element(0x00100010, "PN", b"Doe^John", b" ")
    early = element(0x00400254, "LO", b"early", b" ")
    other.store(raw_file(b"1", b"2", b"3").replace(name, early + name))
    for path in ("/studies", "/series", "/instances"):
        (match,) = other.search(path, includefield="00080016,00400254,00020010,PixelData")
        assert match["00400254"]["Value"] == ["early"]
        assert match["7FE00010"]["BulkDataURI"].endswith("/series/2/instances/3/bulkdata/7FE00010")


def test_a_page_after_the_other_until_there_is_none(client: Client) -> None:
    """As Apache Beam's connector asks, with a type for a body that there is not."""
    head = {"content_type": "application/dicom+json; charset=utf-8"}
    found, offset = 0, 0
    while True:
        path = f"/instances?limit=2&offset={offset}"
        response = client.request("GET", path, **head)
        if response.status != 200:
            break
        found += len(json.loads(response.data))
        offset += 2
    assert (response.status, response.data, found, offset) == (204, b"", 5, 6)


def test_the_query_that_ohif_begins_with(client: Client) -> None:
    query = "limit=25&offset=0&fuzzymatching=false&includefield=all&StudyDate=20200101-20201231"
    matches = client.search(f"/studies?{query}")
    assert [match["0020000D"]["Value"] for match in matches] == [[STUDY]]
    assert matches[0]["00081030"]["Value"] == ["Knee"]


def test_counts_that_workstations_ask_for_are_left_out(client: Client) -> None:
    fields = "00100010,00080061,00081030,00201206,00201208,00201209,00080062,00080054"
    (match, *_) = client.search("/studies", includefield=fields)
    assert not match.keys() & {"00080061", "00201206", "00201208", "00201209"}
    assert match["00081030"]["Value"] == ["Knee"]


def test_memory_does_not_grow_with_the_matches(client: Client) -> None:
    other = client.of_new_store()
    text = "x" * 500_000
    for _ in range(4):
        other.store(*(make_dicom(TextValue=text) for _ in range(10)))
    tracemalloc.start()
    response = other.pool.request(
        "GET",
        f"{other.web}/instances?includefield=all",
        headers={"Authorization": f"Bearer {other.token}"},
        preload_content=False,
    )
    size = sum(len(block) for block in response.stream(1_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status == 200
    assert size > 40 * len(text)
    assert peak < size // 2
