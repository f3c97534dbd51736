"""The route of the fault settings."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

from orthanc_gcp.emulator.faults.network_profiles import GOOGLE
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client, make_dicom
from tests.emulator.faults.first_values import FIRST
from tests.emulator.processes import running


def test_the_route_is_there_when_asked_for(tmp_path: Path) -> None:
    with running(tmp_path / "one", "--admin") as process:
        pool = urllib3.PoolManager(retries=False)
        url = f"{process.url}/emulator/state"
        assert pool.request("GET", url).json() == FIRST
        changed = pool.request("PATCH", url, json={"disabledApi": True, "dateOffset": 60})
        assert changed.json() == {**FIRST, "disabledApi": True, "dateOffset": 60}
        assert pool.request("GET", url).json() == changed.json()
        client = Client(process.url, tmp_path / "one")
        assert client.get("/studies").status == 403
        for body in (b"x", b"[]", b'{"nothing": 1}', b'{"metadata": "off"}'):
            refused = pool.request("PATCH", url, body=body)
            assert (refused.status, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert pool.request("GET", url).json() == changed.json()
        assert pool.request("POST", url).status == 404
        client.pool.clear()
        pool.clear()


def test_the_route_is_not_there_otherwise(client: Client) -> None:
    for verb in ("GET", "PATCH"):
        assert client.pool.request(verb, f"{client.url}/emulator/state").status == 404


def test_settings_are_changed_all_or_none(admin_client: Client) -> None:
    url, pool = f"{admin_client.url}/emulator/state", admin_client.pool
    assert pool.request("GET", url).json() == FIRST
    changed = pool.request("PATCH", url, json={"latency": 0.01, "emptyQido": 200})
    assert changed.json() == {**FIRST, "latency": 0.01, "emptyQido": 200}
    wrong = pool.request("PATCH", url, json={"latency": 0, "emptyQido": 201})
    assert wrong.status == 400
    assert wrong.json()["error"]["message"] == "emptyQido is one of 200, 204"
    for body in (b"x", b"[]", b"[" * 50_000):
        refused = pool.request("PATCH", url, body=body).json()["error"]
        assert refused["message"] == "a JSON object of fault settings is expected"
    assert pool.request("GET", url).json() == changed.json()
    assert pool.request("POST", url).status == 404
    assert pool.request("PATCH", url, body=b" " * 100_000).status == 400


def test_a_reset_over_http(admin_client: Client) -> None:
    url, pool = f"{admin_client.url}/emulator/reset", admin_client.pool
    pool.request("PATCH", f"{admin_client.url}/emulator/state", json={"disabledApi": True})
    with ThreadPoolExecutor(4) as threads:
        resets = list(threads.map(lambda _: pool.request("POST", url).status, range(4)))
    assert resets == [200] * 4
    assert pool.request("POST", url, body=b" " * 100_000).status == 400
    assert admin_client.get("/studies").status == 204
    assert pool.request("GET", url).status == 404


def test_a_page_of_somebody_else_cannot_reset(admin_client: Client) -> None:
    url, pool = f"{admin_client.url}/emulator/reset", admin_client.pool
    assert admin_client.store(make_dicom()).status == 200
    for page in ("https://a.example", "null", f"{admin_client.url}1", "http://[", ""):
        assert pool.request("POST", url, headers={"Origin": page}).status == 403
    for site in ("cross-site", "same-site", ""):
        headers = {"Origin": admin_client.url, "Sec-Fetch-Site": site}
        assert pool.request("POST", url, headers=headers).status == 403
    assert len(admin_client.search("/studies")) == 1
    assert pool.request("POST", url, headers={"Origin": admin_client.url}).status == 200
    assert admin_client.search("/studies") == []
    behind_a_proxy = {"Origin": "https://a.example", "Sec-Fetch-Site": "same-origin"}
    assert pool.request("POST", url, headers=behind_a_proxy).status == 200


def test_without_admin_there_is_no_reset(client: Client) -> None:
    assert client.pool.request("POST", f"{client.url}/emulator/reset").status == 404


def test_a_reset_that_fails_says_so_and_lets_requests_in(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.mkdir()
    options = Options(tmp_path / "data", seed=(seed,), write_credentials=tmp_path, admin=True)
    with Emulator(options) as emulator:
        seed.rmdir()
        url = f"{emulator.url}/emulator/reset"
        answer = urllib3.request("POST", url)
        message = answer.json()["error"]["message"]
        assert (answer.status, message) == (500, "the reset failed: No such file or directory")
        # Everything else is as after a reset, operations included.
        client = Client(emulator.url, tmp_path)
        location = client.store_name.partition("/datasets")[0]
        datasets = f"{client.url}/v1/{location}/datasets?datasetId=more"
        operation = client.request("POST", datasets, b"{}").json()["name"]
        assert client.get(f"{client.url}/v1/{operation}").status == 200
        client.pool.clear()
        seed.mkdir()
        assert urllib3.request("POST", url).status == 200


def test_a_profile_over_http(admin_client: Client) -> None:
    state, pool = f"{admin_client.url}/emulator/state", admin_client.pool
    assert pool.request("PATCH", state, json={"network": "google"}).json() == {**FIRST, **GOOGLE}
    started = time.monotonic()
    assert admin_client.get("/studies").status == 204
    assert time.monotonic() - started >= 0.2
    wrong = pool.request("PATCH", state, json={"network": "slow"})
    assert wrong.json()["error"]["message"].startswith('network is "google" or an object of ')
