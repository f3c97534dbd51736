"""Faults of requests: what comes instead of an answer, or late, or twice."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.adjustable import Adjustable
from tests.emulator.client import Client, make_dicom
from tests.emulator.faults.connections import LARGE, Raw, statuses, stored, upload


def test_an_answer_of_the_token_endpoint(adjustable: Adjustable) -> None:
    page = {"status": 403, "body": "<html>No.</html>", "contentType": "text/html"}
    adjustable.change(tokenEndpoint=page)
    answer = adjustable.post()
    assert (answer.status, answer.data) == (403, b"<html>No.</html>")
    assert answer.headers["content-type"].startswith("text/html")


def test_a_slow_token_endpoint(adjustable: Adjustable) -> None:
    adjustable.change(tokenEndpoint={"delay": 0.3})
    started = time.monotonic()
    assert adjustable.post().status == 200
    assert time.monotonic() - started >= 0.3


def test_a_connection_that_is_reset(adjustable: Adjustable) -> None:
    adjustable.change(tokenEndpoint="reset")
    with pytest.raises(urllib3.exceptions.ProtocolError, match="reset by peer"):
        adjustable.post()
    assert adjustable.client.get("/studies").status == 204


def test_an_answer_that_is_cut_off(adjustable: Adjustable) -> None:
    adjustable.change(tokenEndpoint="truncate")
    with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
        adjustable.post()
    user = adjustable.emulator.identities.users[0]
    adjustable.change(revokedRefreshTokens=[user.refresh_token])
    with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
        adjustable.post()


def test_a_connection_over_tls_that_is_reset(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    with Emulator(Options(tmp_path, tls=True)) as emulator:
        pool = urllib3.PoolManager(retries=False, ca_certs=str(emulator.ca))
        for cut in ("reset", "truncate"):
            emulator.fault_settings.change(tokenEndpoint=cut)
            with pytest.raises(urllib3.exceptions.ProtocolError):
                pool.request("POST", emulator.token_uri)
        pool.clear()


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        (403, "PERMISSION_DENIED", "The caller does not have permission"),
        (418, "UNKNOWN", "I'm a Teapot"),
        (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"),
        (500, "INTERNAL", "Internal error encountered."),
        (502, "UNAVAILABLE", "Bad Gateway"),
        (503, "UNAVAILABLE", "The service is currently unavailable."),
        (504, "DEADLINE_EXCEEDED", "Deadline expired"),
        (599, "UNKNOWN", "Unknown Error"),
    ],
)
def test_statuses(own_client: Client, fail: Any, status: int, name: str, message: str) -> None:
    fail({"status": status})
    answer = own_client.get("/studies")
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["status"]) == (status, status, name)
    assert error["message"].startswith(message)
    assert "retry-after" not in answer.headers
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_bodies_of_statuses(own_client: Client, fail: Any) -> None:
    fail(
        {"status": 429, "retryAfter": 7, "count": 1},
        {"status": 502, "html": True, "count": 1},
        {"status": 400, "body": "<no>", "contentType": "text/xml", "count": 1},
        {"status": 400, "body": "no", "count": 1},
    )
    assert own_client.get("/studies").headers["retry-after"] == "7"
    page = own_client.get("/studies")
    assert page.headers["content-type"] == "text/html; charset=UTF-8"
    assert b"<title>Error 502 (Server Error)!!1</title>" in page.data
    own = own_client.get("/studies")
    assert (own.status, own.data) == (400, b"<no>")
    assert own.headers["content-type"].startswith("text/xml")
    assert own_client.get("/studies").headers["content-type"].startswith("text/plain")
    assert own_client.get("/studies").status == 204


def test_a_status_comes_before_the_credential(
    emulator: Emulator, own_client: Client, fail: Any
) -> None:
    own_client.token = "none"
    fail({"status": 503, "count": 1}, {"lose": "all"}, {"tokenDies": True})
    assert statuses(own_client, 2) == [503, 401]
    assert [rule["used"] for rule in emulator.fault_settings.as_json()["faults"]] == [1, 1, 0]


def test_delay_and_latency(emulator: Emulator, own_client: Client, fail: Any) -> None:
    fail({"delay": 0.2, "method": "GET"})
    emulator.fault_settings.change(latency=0.1)
    started = time.monotonic()
    assert own_client.get("/studies").status == 204
    assert time.monotonic() - started >= 0.3


def test_an_answer_while_the_client_still_sends(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"status": 503, "readBody": False, "count": 1}, {"cut": "reset", "readBody": False})
    content = make_dicom(pixels=LARGE)
    upload(raw, content, 1000)
    assert raw.socket.recv(100).startswith(b"HTTP/1.1 503")
    raw.socket.sendall(content[1000:])
    while b"UNAVAILABLE" not in raw.socket.recv(65536):
        pass
    upload(raw, content, 1000)
    with pytest.raises(ConnectionResetError):
        raw.receive()


def test_an_answer_after_the_body(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"status": 503})
    content = make_dicom(pixels=LARGE)
    upload(raw, content, len(content) - 1)
    raw.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        raw.socket.recv(100)
    raw.socket.settimeout(30)
    raw.socket.sendall(content[-1:])
    assert raw.socket.recv(100).startswith(b"HTTP/1.1 503")
    fail()
    assert stored(own_client) == []


def test_stored_but_not_acknowledged(own_client: Client, fail: Any) -> None:
    fail(
        {"storeThenFail": True, "count": 1, "method": "POST"},
        {"storeThenFail": True, "count": 1, "method": "POST", "cut": "reset"},
        {"storeThenFail": True, "count": 1, "method": "POST", "status": 503, "retryAfter": 1},
    )
    for number in (1, 2):
        with pytest.raises(urllib3.exceptions.ProtocolError, match="reset by peer"):
            own_client.store(make_dicom())
        assert len(stored(own_client)) == number
    answer = own_client.store(make_dicom())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert len(stored(own_client)) == 3


def test_a_token_that_dies(
    own_client: Client, emulator: Emulator, credentials: Path, fail: Any
) -> None:
    other = Client(emulator.url, credentials)
    fail({"tokenDies": True, "count": 1})
    answer = own_client.store(make_dicom())
    assert answer.status == 401
    assert answer.json()["error"]["details"][0]["reason"] == "ACCESS_TOKEN_EXPIRED"
    assert "invalid_token" in answer.headers["www-authenticate"]
    assert statuses(own_client, 2) == [401, 401]
    assert stored(other) == []
    other.pool.clear()


def test_a_token_dies_in_the_middle_of_a_request(raw: Raw, own_client: Client, fail: Any) -> None:
    fail({"tokenDies": True, "method": "POST"})
    content = make_dicom(pixels=LARGE)
    upload(raw, content, len(content) - 1)
    assert statuses(own_client, 1) == [204]
    raw.socket.sendall(content[-1:])
    assert raw.socket.recv(100).startswith(b"HTTP/1.1 401")
    assert statuses(own_client, 1) == [401]
