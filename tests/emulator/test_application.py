"""What all answers have in common."""

from __future__ import annotations

import json
import logging
import time
from email.utils import parsedate_to_datetime

import pytest
import urllib3

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.adjustable import Adjustable
from tests.emulator.client import Client


def dated(answer: urllib3.BaseHTTPResponse) -> float:
    """Return how far the date of an answer is from now."""
    (date,) = answer.headers.getlist("date")
    return parsedate_to_datetime(date).timestamp() - time.time()


def test_dates_that_are_off(adjustable: Adjustable) -> None:
    assert abs(dated(adjustable.client.get("/studies"))) < 2
    adjustable.change(dateOffset=-600)
    assert abs(dated(adjustable.client.get("/studies")) + 600) < 2
    assert adjustable.post().status == 200


@pytest.mark.parametrize(("offset", "works"), [(-600, False), (600, True), (7200, False)])
def test_a_clock_that_differs(adjustable: Adjustable, offset: float, works: bool) -> None:
    adjustable.change(clockOffset=offset)
    answer = adjustable.client.pool.request("GET", f"{adjustable.client.url}/")
    assert abs(dated(answer) - offset) < 2
    if works:
        adjustable.account.refresh(adjustable.request)
    else:
        assert "short-lived token (60 minutes)" in adjustable.refused()


def test_an_error_of_the_emulator_itself(
    emulator: Emulator, own_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.identities.users.clear()
    emulator.identities.service_accounts.clear()
    with caplog.at_level(logging.ERROR):
        answer = own_client.pool.request("GET", f"{own_client.url}/emulator/token")
    error = json.loads(answer.data)["error"]
    assert (answer.status, error["status"]) == (500, "INTERNAL")
    assert error["message"] == "Internal error encountered."
    assert caplog.messages == ["cannot answer GET /emulator/token"]


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/emulator/state", 404),
        ("GET", "/emulator/subject-token", 200),
        ("GET", "/latest/meta-data/", 401),
        ("GET", "/computeMetadata/v1/", 403),
        ("GET", "/v1/projects/p/topics", 401),
        ("POST", "/v1/projects/-/serviceAccounts/a@b:generateAccessToken", 401),
        ("GET", "/v1/projects/-/serviceAccounts/a@b:generateAccessToken", 404),
        ("POST", "/v1/oauthtoken", 400),
        ("GET", "/v1/token", 404),
        ("GET", "/", 200),
    ],
)
def test_what_answers_which_path(client: Client, verb: str, path: str, status: int) -> None:
    assert client.pool.request(verb, client.url + path).status == status


def test_a_preflight_of_what_there_is_and_of_what_there_is_not(client: Client) -> None:
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    statuses = [
        client.pool.request("OPTIONS", client.url + path, headers=headers).status
        for path in (f"/v1/{client.store_name}", "/v1/projects/p/topics", "/v1/nothing")
    ]
    assert statuses == [200, 200, 404]
