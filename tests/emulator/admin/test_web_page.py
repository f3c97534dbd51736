"""The page at ``/``: what it gives away, and what it does in a real browser."""

from __future__ import annotations

import json

import pytest
import urllib3

from tests.emulator.client import Client, make_dicom, read

VIEWS = ("/emulator/overview", "/emulator/stores", "/emulator/studies", "/emulator/state")


def get(client: Client, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
    return client.pool.request("GET", client.url + path, headers=headers)


def test_without_admin_the_page_says_how_to_get_more_and_gives_nothing_away(client):
    page = get(client, "/")
    assert page.status == 200
    assert b"orthanc-gcp emulator --admin" in page.data
    for path in VIEWS:
        assert get(client, path).status == 404
        assert client.pool.request("PATCH", client.url + path, body=b"{}").status == 404


def test_no_script_of_others_and_no_frame_around_it(client, admin_client):
    for page in (get(client, "/"), get(admin_client, "/"), get(admin_client, "/emulator/overview")):
        policy = page.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert page.headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in page.data
        assert b"https://" not in page.data
    for name in ("page.css", "page.js", "page.svg"):
        assert get(client, f"/emulator/{name}").status == 200
    assert client.pool.request("POST", client.url + "/").status == 404


def test_the_metadata_server_keeps_the_root(admin_client):
    answer = get(admin_client, "/", **{"Metadata-Flavor": "Google"})
    assert answer.data == b"computeMetadata/\n"
    admin_client.pool.request(
        "PATCH", f"{admin_client.url}/emulator/state", json={"metadata": False}
    )
    assert get(admin_client, "/", **{"Metadata-Flavor": "Google"}).status == 404


def test_requests_are_told_without_their_query_and_no_more_than_some(admin_client):
    assert admin_client.get("/studies", PatientName="Doe^John").status == 204
    get(admin_client, "/" + "x" * 5000)
    get(admin_client, "/")
    text = get(admin_client, "/emulator/overview").data.decode()
    assert "Doe" not in text
    last, search, token = json.loads(text)["requests"]
    assert (last["method"], last["status"]) == ("GET", 404)
    assert len(last["path"]) < 500
    expected = f"/v1/{admin_client.store_name}/dicomWeb/studies"
    assert (search["method"], search["path"], search["status"]) == ("GET", expected, 204)
    assert (token["method"], token["path"], token["status"]) == ("POST", "/token", 200)
    assert 0 <= search["milliseconds"] < 60_000
    for _ in range(300):
        get(admin_client, "/token")
    kept = get(admin_client, "/emulator/overview").json()["requests"]
    assert [request["number"] for request in kept] == list(range(303, 103, -1))


def test_a_broken_connection_has_no_status(admin_client):
    state = f"{admin_client.url}/emulator/state"
    admin_client.pool.request("PATCH", state, json={"tokenEndpoint": "reset"})
    with pytest.raises(urllib3.exceptions.ProtocolError):
        admin_client.pool.request("POST", f"{admin_client.url}/token", body=b"")
    last = get(admin_client, "/emulator/overview").json()["requests"][0]
    assert (last["path"], last["status"]) == ("/token", 0)


@pytest.mark.parametrize("bandwidth", [None, 10_000])
def test_a_call_that_is_reset_has_no_status(admin_client, bandwidth):
    state = f"{admin_client.url}/emulator/state"
    changes = {"faults": [{"cut": "reset"}], "bandwidth": bandwidth}
    assert admin_client.pool.request("PATCH", state, json=changes).status == 200
    with pytest.raises(urllib3.exceptions.ProtocolError):
        admin_client.pool.request("GET", f"{admin_client.web}/studies", retries=False)
    last = get(admin_client, "/emulator/overview").json()["requests"][0]
    assert (last["method"], last["status"]) == ("GET", 0)


def test_studies_come_in_pages_the_last_first(admin_client):
    uids = []
    for number in range(21):
        content = make_dicom(PatientID=str(number), AccessionNumber=f"A{number}")
        admin_client.store(content, make_dicom(StudyInstanceUID=read(content).StudyInstanceUID))
        uids.append(str(read(content).StudyInstanceUID))
    path = f"/emulator/studies?store={admin_client.store_name}"
    first, second = get(admin_client, path).json(), get(admin_client, f"{path}&offset=20").json()
    assert [study["uid"] for study in first["studies"]] == uids[:0:-1]
    assert (first["more"], second["more"]) == (True, False)
    assert second["studies"] == [
        {
            "uid": uids[0],
            "patient_name": "Doe^John",
            "patient_id": "0",
            "study_date": "20200229",
            "accession_number": "A0",
            "series": 2,
            "instances": 2,
        }
    ]
    (store,) = get(admin_client, "/emulator/stores").json()["stores"]
    assert store["name"] == admin_client.store_name
    assert (store["studies"], store["series"], store["instances"]) == (21, 42, 42)
    for wrong, status in (("?store=x", 404), ("", 404), (f"{path[17:]}&offset=-1", 400)):
        assert get(admin_client, f"/emulator/studies{wrong}").status == status
