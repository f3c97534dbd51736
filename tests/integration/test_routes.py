"""``/gcp/accounts`` and the metrics, in a real Orthanc."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.support import token_server as answers
from tests.support.keys import STORE, service_account, user_account, write
from tests.support.orthanc import wait_until
from tests.support.token_server import token


@pytest.fixture
def instance(orthanc, token_server, tmp_path):
    base = token_server.url.removesuffix("/token")
    token_server.answers["/down"] = answers.error("invalid_grant", "Token has been revoked.")
    file = write(tmp_path / "key.json", service_account(token_server.url))
    accounts = {
        "key": {**STORE, "ServiceAccountFile": file, "QuotaProject": "billing-1"},
        "übung 1": user_account(token_server.url),
        "failing": user_account(f"{base}/down"),
        "wrong": {**user_account(token_server.url), "Dataset": 5},
    }
    made = orthanc({"GoogleCloudPlatform": {"RefreshInterval": 1, "Accounts": accounts}})
    made.wait_for_servers("key", "übung 1")
    return made


def test_the_state_of_each_account(instance):
    wait_until(lambda: instance.json("GET", "/gcp/accounts/failing")["State"] == "failing")
    everyone = {each["Name"]: each for each in instance.json("GET", "/gcp/accounts")}
    assert {name: each["State"] for name, each in everyone.items()} == {
        "key": "fresh",
        "übung 1": "fresh",
        "failing": "failing",
        "wrong": "failing",
    }
    key = instance.json("GET", "/gcp/accounts/key")
    assert key["Identity"] == "orthanc@osimis-test.iam.gserviceaccount.com"
    assert key["Kind"] == "service account"
    assert key["Scopes"] == ["https://www.googleapis.com/auth/cloud-healthcare"]
    assert key["Store"].endswith("/dicomStores/dicom")
    assert 3500 < key["SecondsToExpiry"] <= 3600
    assert key["KeyAgeDays"] == 0
    assert key["PublishedSince"] is not None
    assert key["LastError"] is None
    assert (key["Refreshes"], key["Failures"]) == (1, 0)
    assert key["Expires"] > key["NextTry"] > key["LastSuccess"]
    assert instance.json("GET", "/gcp/accounts/%C3%BCbung%201")["Kind"] == "user"
    failing = everyone["failing"]
    assert failing["LastError"]["Reason"] == "invalid_grant"
    assert "Token has been revoked." in failing["LastError"]["Message"]
    assert failing["NextTry"] is not None
    assert failing["PublishedSince"] is None
    assert "Dataset: found 5" in everyone["wrong"]["LastError"]["Message"]


def test_statuses(instance):
    def status(method, path):
        answer = instance.request(method, path, b"")
        return answer.status, answer.headers.get("Allow")

    assert status("GET", "/gcp/accounts/nobody") == (404, None)
    assert status("POST", "/gcp/accounts/nobody/refresh") == (404, None)
    assert status("POST", "/gcp/accounts") == (405, "GET")
    assert status("DELETE", "/gcp/accounts/key") == (405, "GET")
    assert status("GET", "/gcp/accounts/key/refresh") == (405, "POST")
    assert status("POST", "/gcp/accounts/failing/refresh") == (502, None)
    assert status("POST", "/gcp/accounts/wrong/refresh") == (502, None)
    answer = instance.request("GET", "/gcp/accounts/nobody")
    assert answer.headers["Content-Type"] == "application/json"
    assert "there is no account nobody" in json.loads(answer.data)["Message"]


def test_pages_of_another_origin_may_read_and_change_nothing(instance, token_server):
    before = len(token_server.requests)
    for headers in (
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        path = "/gcp/accounts/key/refresh"
        assert instance.request("POST", path, b"", **headers).status == 403
        answer = instance.request("POST", "/gcp/accounts/key/pause", b"", **headers)
        assert answer.status == 403
    assert len(token_server.requests) == before
    own = {"Origin": instance.url, "Sec-Fetch-Site": "same-origin"}
    assert instance.request("POST", "/gcp/accounts/key/refresh", b"", **own).status == 200


def test_a_refresh_on_demand(instance, token_server):
    token_server.answer = token("ya29.second")
    told = instance.json("POST", "/gcp/accounts/key/refresh", b"")
    assert told["Refreshes"] == 2
    assert told["State"] == "fresh"
    token_server.answer = answers.raw(b"", 503)
    answer = instance.request("POST", "/gcp/accounts/key/refresh", b"")
    assert answer.status == 502
    told = json.loads(answer.data)
    assert (told["State"], told["LastError"]["Reason"]) == ("failing", "http_503")
    assert told["SecondsToExpiry"] > 3500, "the old token stays"
    token_server.answer = token("ya29.third")
    wait_until(lambda: instance.json("GET", "/gcp/accounts/key")["State"] == "fresh")


def test_many_who_ask_share_one_refresh(instance, token_server):
    token_server.answer = answers.slow(0.5, token("ya29.shared"))
    before = len(token_server.requests)
    asking = [
        threading.Thread(target=instance.json, args=("POST", "/gcp/accounts/key/refresh", b""))
        for _ in range(8)
    ]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert len(token_server.requests) - before <= 2


def test_a_slow_answer_blocks_nobody(instance, token_server):
    token_server.answer = answers.slow(2, token())
    slow = threading.Thread(target=instance.json, args=("POST", "/gcp/accounts/key/refresh", b""))
    slow.start()
    time.sleep(0.2)
    began = time.monotonic()
    instance.json("GET", "/gcp/accounts")
    instance.json("GET", "/system")
    assert time.monotonic() - began < 1.5
    slow.join()


def test_metrics(instance):
    def metrics() -> dict[str, float]:
        lines = instance.request("GET", "/tools/metrics-prometheus").data.decode().splitlines()
        return {
            line.rpartition("} ")[0] + "}": float(line.rpartition("} ")[2].split()[0])
            for line in lines
            if line.startswith("gcp_")
        }

    wait_until(lambda: metrics().get('gcp_token_refresh_failures_total{account="failing"}', 0) >= 1)
    found = metrics()
    assert found['gcp_token_up{account="key"}'] == 1
    assert found['gcp_token_up{account="übung 1"}'] == 1
    assert found['gcp_token_up{account="failing"}'] == 0
    assert found['gcp_token_up{account="wrong"}'] == 0
    left = found['gcp_token_expiry_timestamp_seconds{account="key"}'] - time.time()
    assert 3300 < left <= 3600
    assert found['gcp_token_expiry_timestamp_seconds{account="failing"}'] == 0
    assert found['gcp_token_refreshes_total{account="key"}'] == 1


def test_the_quota_project_is_sent(instance):
    assert "x-goog-user-project" in instance.servers()["key"]["HttpHeaders"]


def test_the_examination(instance):
    told = instance.json("POST", "/gcp/accounts/wrong/check", b"")
    assert told["Passed"] is False
    assert told["Checks"][0]["Result"] == "failed"
    assert "Dataset: found 5" in told["Checks"][0]["Cause"]
    told = instance.json("POST", "/gcp/accounts/failing/check", b"")
    failed = [each for each in told["Checks"] if each["Result"] == "failed"]
    assert failed
