"""Operations over HTTP: begun, read, listed, cancelled."""

from __future__ import annotations

import json

from tests.emulator.client import STORE, Client, make_dicom, path_of, read

DATASET = STORE.partition("/dicomStores/")[0]


def test_partial_success_cannot_be_asked_for(client: Client) -> None:
    url = f"{client.url}/v1/{DATASET}/operations"
    answer = client.get(url, returnPartialSuccess="true")
    assert (answer.status, answer.json()["error"]["status"]) == (501, "UNIMPLEMENTED")


def test_the_operations_of_a_dataset(own_client: Client) -> None:
    client = own_client
    url = f"{client.url}/v1/{DATASET}/operations"
    assert client.get(url).json() == {}
    names = []
    for _ in range(3):
        content = make_dicom()
        client.store(content)
        study = path_of(read(content)).partition("/series")[0]
        names.append(client.request("DELETE", study).json()["name"])
    page = client.get(url, pageSize="2").json()
    rest = client.get(url, pageToken=page["nextPageToken"]).json()
    listed = page["operations"] + rest["operations"]
    assert "nextPageToken" not in rest
    assert listed == [client.get(f"{client.url}/v1/{name}").json() for name in sorted(names)]
    assert client.get(url.replace("/test/", "/other/")).status == 403


def test_cancelling_what_has_ended_changes_nothing(client: Client) -> None:
    content = make_dicom()
    client.store(content)
    study = path_of(read(content)).partition("/series")[0]
    url = f"{client.url}/v1/{client.request('DELETE', study).json()['name']}"
    before = client.get(url).json()
    cancelled = client.request("POST", f"{url}:cancel", b"{}")
    assert (cancelled.status, cancelled.json()) == (200, {})
    assert client.get(url).json() == before
    assert client.request("POST", f"{url}1:cancel", b"{}").status == 404


def test_an_unknown_operation(client: Client) -> None:
    response = client.get(f"{client.url}/v1/{DATASET}/operations/1")
    assert (response.status, json.loads(response.data)["error"]["status"]) == (404, "NOT_FOUND")
    response = client.get(f"{client.url}/v1/{DATASET}x/operations/1")
    assert response.status == 403
