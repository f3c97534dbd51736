"""UIDs that are none: stored, found, retrieved and deleted like others, and harmless."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthanc_gcp.emulator.server import Emulator
from orthanc_gcp.emulator.storage.records import path_segment
from tests.emulator.client import DICOM_JSON, Client, make_dicom
from tests.emulator.contents import LARGE
from tests.emulator.dicomweb.metadata_parts import described, metadata, send
from tests.emulator.raw_files import raw_file

AS_STORED = "application/dicom; transfer-syntax=*"
ODD = [
    "study_000000001",
    "111",
    "a/b",
    "/",
    "../../../../etc/passwd",
    "..",
    ".",
    "metadata",
    "1.2/series/1.2.3",
    "in\0side",
    "quo\"te's<&>",
    "per%2Fcent%",
    "a b+c",
    "a:b",
    "x:import",
    "a?b=c#d&e",
    "line\r\nX-Header: 1",
    "é\xff\x80",
    "{}*'; DROP TABLE studies --",
    "1.2\\3.4",
    "9" * 4096,
]


def of(uid: str) -> bytes:
    """Return a file whose UIDs are all the same."""
    name = uid.encode("latin-1")
    return raw_file(name, name, name)


@pytest.mark.parametrize("uid", ODD, ids=range(len(ODD)))
def test_an_instance_with_odd_uids(client: Client, uid: str) -> None:
    content, segment = of(uid), path_segment(uid)
    study = f"{client.web}/studies/{segment}"
    series = f"{study}/series/{segment}"
    instance = f"{series}/instances/{segment}"

    answer = client.store(content)
    assert answer.status == 200, answer.data
    stored = json.loads(answer.data)
    assert stored["00081190"]["Value"] == [study]
    assert stored["00081199"]["Value"][0]["00081190"]["Value"] == [instance]
    assert client.store(content, path=f"/studies/{segment}").status == 409
    assert client.get(instance, AS_STORED).data == content
    for path, url in (("/studies", study), ("/series", series), ("/instances", instance)):
        for found in (client.search(path), client.search(path, StudyInstanceUID=uid)):
            assert [match["00081190"]["Value"] for match in found] == [[url]]
    assert client.search(f"/studies/{segment}/instances", SOPInstanceUID=uid)

    (metadata,) = json.loads(client.get(f"{study}/metadata").data)
    assert "\\".join(metadata["0020000D"]["Value"]) == uid
    assert metadata["7FE00010"]["BulkDataURI"] == f"{instance}/bulkdata/7FE00010"
    octets = client.get(metadata["7FE00010"]["BulkDataURI"], "application/octet-stream")
    assert octets.data == b"\1\2\3\4"
    (whole,) = client.search("/instances", includefield="all")
    assert whole["7FE00010"] == metadata["7FE00010"]

    assert client.request("DELETE", instance).status == 200
    assert client.search("/studies") == []


def test_the_answer_in_xml_stays_well_formed(client: Client) -> None:
    files = [of(uid) for uid in ODD]
    root = ElementTree.fromstring(client.store(*files, accept="application/dicom+xml").data)
    urls = [value.text for value in root.iterfind(".//Item/*[@keyword='RetrieveURL']/Value")]
    assert [client.get(str(url), AS_STORED).data for url in urls] == files


def test_studies_with_odd_uids_are_deleted_by_operations(client: Client) -> None:
    client.store(*map(of, ODD))
    for uid in ODD:
        answer = client.request("DELETE", f"/studies/{path_segment(uid)}")
        assert answer.status == 200, (uid, answer.data)
        assert answer.json()["name"]
    assert client.search("/studies") == []


@pytest.mark.parametrize("padding", [b"\0", b" "])
def test_padding_is_no_part_of_a_uid(client: Client, padding: bytes) -> None:
    content = raw_file(b"12.4", b"1.2.345\0\0", b"1.2  ", padding=padding)
    assert client.store(content).status == 200
    (match,) = client.search("/instances", StudyInstanceUID="12.4")
    assert match["00081190"]["Value"] == [f"{client.web}/studies/12.4/series/1.2.345/instances/1.2"]


@pytest.mark.parametrize("name", ["study", "series", "instance", "sop_class"])
@pytest.mark.parametrize("value", [b"", b" \0", b"9" * 4098])
def test_what_is_missing_or_cannot_be_named(client: Client, name: str, value: bytes) -> None:
    answer = client.store(raw_file(**{name: value}))
    assert answer.status == 409
    reason = "is too long" if len(value) > 2 else "is missing"
    detail = json.loads(answer.data)["00081198"]["Value"][0]["00091097"]["Value"][0]
    assert detail.startswith("invalid DICOM instance: attribute 00")
    assert detail.endswith(reason)
    assert client.search("/instances") == []


def test_no_file_is_named_by_a_uid(own_client: Client, emulator: Emulator, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    own_client.store(*(of(uid) + bytes(LARGE) for uid in ODD))
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    files = [path for path in new if path.parent == tmp_path / "data" / "files"]
    assert len(files) == len(ODD)
    assert all(len(path.name) == 32 and path.name.isalnum() for path in files)
    assert {path.parent for path in new} <= {tmp_path / "data", tmp_path / "data" / "files"}


def test_a_slash_in_a_name_is_none_between_names(client: Client) -> None:
    client.store(of("a/b"), of("a"))
    assert client.get("/studies/a/b").status == 404
    assert client.get("/studies/a%2fb/series").status == 200
    store = client.store_name.replace("/dicomStores/", "%2FdicomStores%2F")
    assert client.get(f"{client.url}/v1/{store}/dicomWeb/studies").status == 404
    # A dataset whose name has slashes is none, and not the store that has the same name.
    assert client.get(f"{client.url}/v1/{store}:getIamPolicy").status == 403


def test_a_transfer_syntax_ends_no_header(client: Client) -> None:
    content = raw_file(transfer_syntax=b'1.2\r\nSet-Cookie: x=1\r\n\r\n"; \xff')
    assert client.store(content).status == 200
    path = "/studies/1.2/series/1.2.3/instances/1.2.3.4"
    answer = client.get(path, AS_STORED)
    assert (answer.status, answer.data) == (200, content)
    assert "set-cookie" not in answer.headers
    parts = client.get(
        "/studies/1.2", 'multipart/related; type="application/dicom"; transfer-syntax=*'
    )
    assert b"\r\nSet-Cookie" not in parts.data.replace(content, b"")
    assert client.get(f"{path}/metadata", DICOM_JSON).status == 200
    assert client.get(f"{path}/bulkdata/7FE00010").status == 200


def test_keys_are_compared_as_the_client_decoded_them(client: Client) -> None:
    client.store(of("é"))
    assert len(client.search(f"/studies?StudyInstanceUID={quote('é')}")) == 1
    assert client.search(f"/studies?StudyInstanceUID={quote('%C3%A9')}") == []


def test_uids_in_metadata_are_taken_too(client: Client) -> None:
    uids = [uid for uid in ODD if len(uid) < 4096]
    models = [metadata(make_dicom()) for _ in uids]
    for uid, model in zip(uids, models, strict=True):
        for tag in ("0020000D", "0020000E", "00080018"):
            model[tag] = {"vr": "UI", "Value": [uid]}
        del model["7FE00010"]
    answer = send(client, [described(*models)])
    assert answer.status == 200, answer.data
    assert len(client.search("/studies")) == len(uids)
    for uid in uids:
        path = f"/studies/{path_segment(uid)}/metadata"
        assert "\\".join(client.get(path).json()[0]["00080018"]["Value"]) == uid


def test_uids_in_metadata_that_no_file_can_have(client: Client) -> None:
    model = metadata(make_dicom(), **{"0020000D": {"vr": "UI", "Value": ["日本"]}})
    answer = send(client, [described(model)])
    assert answer.status == 409
    assert "0020000D has characters of other scripts" in answer.data.decode()


def test_metadata_of_an_instance_with_odd_uids_are_changed(client: Client) -> None:
    client.store(of("a/b"))
    path = "/studies/a%2Fb/series/a%2Fb/instances/a%2Fb"
    beta = client.web.replace("/v1/", "/v1beta1/")
    patch = [{"op": "add", "path": "/00080020", "value": {"vr": "DA", "Value": ["yesterday"]}}]
    kind = "application/json-patch+json"
    url = f"{beta}{path}/metadata"
    answer = client.request("PATCH", url, json.dumps(patch).encode(), content_type=kind)
    assert answer.status == 200, answer.data
    (match,) = client.search("/instances", StudyInstanceUID="a/b", StudyDate="yesterday")
    assert match["00081190"]["Value"] == [client.web + path]


def test_names_in_other_answers(client: Client) -> None:
    client.store(of("a/b"))
    study = f"{client.store_name}/dicomWeb/studies/a%2Fb"
    assert client.get("/studies/a%2Fb:getStudyMetrics").json()["study"] == study
    series = client.get("/studies/a%2Fb/series/a%2Fb:getSeriesMetrics").json()["series"]
    assert series == f"{study}/series/a%2Fb"


@settings(
    max_examples=60, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=40))
def test_whatever_the_bytes(client: Client, study: bytes, instance: bytes) -> None:
    content = raw_file(study, b"1", instance)
    answer = client.store(content)
    if not study.strip(b"\0 ") or not instance.strip(b"\0 "):
        assert answer.status == 409
        return
    stored = answer.json()
    if answer.status == 409:
        # It is there already, with other padding.
        assert "already exists" in answer.data.decode()
        return
    url = stored["00081199"]["Value"][0]["00081190"]["Value"][0]
    assert url.isascii()
    assert client.get(url, AS_STORED).data == content
    uid = study.decode("latin-1").strip("\0 ")
    assert url in [match["00081190"]["Value"][0] for match in client.search("/instances")]
    assert client.search("/studies", StudyInstanceUID=uid)
    assert client.request("DELETE", url).status == 200
