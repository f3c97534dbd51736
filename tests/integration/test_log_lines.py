"""What Orthanc's log says of custody at its default level: each thing once, and no more."""

from __future__ import annotations

import json
import re
import time

import psutil
import pytest

from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc, wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site, make_study

ACCOUNT = "my google"
STARTED, AWAY, BACK = "has started: ", "its store cannot be used", "its store is used again after"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"


@pytest.fixture
def emulator(tmp_path):
    emulator = Emulator(tmp_path / "emulator", "--admin", "--token-lifetime", "600")
    yield emulator
    emulator.stop()


def configuration(emulator: Emulator, **section) -> dict:
    file = str(emulator.credentials / "service-account.json")
    return {
        "GoogleCloudPlatform": {
            "BaseUrl": f"{emulator.url}/v1beta1/",
            "Accounts": {ACCOUNT: {**STORE, "ServiceAccountFile": file}},
            "Send": [{"To": ACCOUNT, "Modalities": ["OT"], "Tags": {"PatientName": "Custody*"}}],
            **section,
        }
    }


def lines(log: str, *parts: str) -> list[str]:
    return [line for line in log.splitlines() if all(part in line for part in parts)]


def one(log: str, *parts: str) -> str:
    found = lines(log, *parts)
    assert len(found) == 1, f"{found}\n\n{log}"
    return found[0]


def ours(log: str) -> list[str]:
    return lines(log, "Google Cloud Platform: ")


def upload(orthanc: Orthanc, instances: int) -> None:
    for content in make_study(instances=instances):
        orthanc.json("POST", "/instances", content)


def confirmed(orthanc: Orthanc) -> int:
    answer = orthanc.request("GET", "/gcp/transfers")
    return answer.json()[0]["Confirmed"]["Instances"] if answer.status == 200 else -1


def wait_for(orthanc: Orthanc, instances: int, wait: float = 60) -> None:
    wait_until(lambda: confirmed(orthanc) == instances, wait, lambda: orthanc.log[-6000:])


def test_the_life_of_the_worker(orthanc, emulator):
    instance = orthanc(configuration(emulator))
    started = wait_for_line(instance, STARTED)
    assert (
        f"it follows Orthanc at http://127.0.0.1:{instance.port} and sends to {ACCOUNT}" in started
    )
    assert "(Modalities OT; Tags PatientName)" in started
    assert "Custody*" not in instance.log, "values of attributes may be patient data"
    assert started.endswith(f"its ledger is {instance.folder}/storage/orthanc-gcp.sqlite")
    (child,) = psutil.Process(instance.pid).children()
    child.kill()
    wait_until(lambda: len(lines(instance.log, STARTED)) == 2, 30, lambda: instance.log)
    assert "it is started again in 1 s" in one(instance.log, "the worker has ended (signal 9)")


def wait_for_line(orthanc: Orthanc, *parts: str) -> str:
    wait_until(lambda: lines(orthanc.log, *parts), 40, lambda: orthanc.log)
    return one(orthanc.log, *parts)


def test_the_store_is_away(orthanc, emulator):
    instance = orthanc(configuration(emulator))
    wait_for_line(instance, STARTED)
    upload(instance, 3)
    wait_for(instance, 3)
    before = len(ours(instance.log))
    emulator.stop()
    for _ in range(3):
        upload(instance, 3)
        time.sleep(1.5)
    said = one(instance.log, AWAY)
    assert re.search(rf"account {ACCOUNT}: .*; since {TIME}, next try in [\d.]+ s$", said)
    assert "127.0.0.1" in said
    emulator.start()
    wait_for(instance, 12)
    assert re.search(rf"account {ACCOUNT}: {BACK} \d+ s$", one(instance.log, BACK))
    assert len(ours(instance.log)) == before + 2, instance.log


def test_the_token_endpoint_is_away(orthanc, tmp_path):
    emulator = Emulator(tmp_path / "emulator", "--admin", "--token-lifetime", "10")
    try:
        instance = orthanc(configuration(emulator))
        wait_for_line(instance, STARTED)
        upload(instance, 3)
        wait_for(instance, 3)
        before = len(ours(instance.log))
        emulator.switch(tokenEndpoint={"status": 503})
        time.sleep(18)
        upload(instance, 3)
        time.sleep(8)
        emulator.switch(tokenEndpoint=None)
        wait_for(instance, 6)
        wait_until(lambda: "a new token, recovered after" in instance.log, 60)
        first, expired = lines(instance.log, f"account {ACCOUNT}: no new token")
        assert "answered 503" in first
        assert re.search(rf"the old one is good for another \d s; since {TIME}, next try", first)
        assert "no new token, still: " in expired
        assert "the old one expired" in expired
        one(instance.log, AWAY)
        wait_until(lambda: BACK in instance.log, 30, lambda: instance.log)
        assert len(ours(instance.log)) == before + 5, instance.log
    finally:
        emulator.stop()


def test_a_backfill(orthanc, emulator):
    wanted = configuration(emulator, Backfill=True)
    instance = orthanc({**wanted, "GoogleCloudPlatform": {}})
    for _ in range(3):
        upload(instance, 2)
    instance.stop()
    whole = json.loads(instance.configuration_file.read_text())
    instance.configuration_file.write_text(json.dumps({**whole, **wanted}))
    instance.start()
    wait_for(instance, 6)
    wait_for_line(instance, "the backfill has ended: all 3 studies are done")
    one(instance.log, "the backfill has begun: 3 studies are there")


def test_orthanc_is_away(tmp_path):
    with Site(tmp_path) as site:
        site.wait_for_following()
        one(site.log(), "WARNING", STARTED, f"follows Orthanc at {site.orthanc.url} ")
        one(site.log(), "WARNING", "following Orthanc", "for the first time")
        site.orthanc.stop()
        time.sleep(6)
        said = one(site.log(), "cannot follow Orthanc")
        assert re.search(rf"; since {TIME}, next try in [\d.]+ s$", said)
        site.orthanc.start()
        wait_until(lambda: "Orthanc is followed again after" in site.log(), 30, site.log)
        for content in make_study(instances=2):
            site.upload(content)
        site.wait_for(confirmed=2)
        assert len(lines(site.log(), "WARNING")) == 4, site.log()
        one(site.log(), "Orthanc is followed again after")


def test_the_ledger_is_away(tmp_path):
    server = Postgres()
    database = server.url.replace("postgres@", "postgres:hush@")
    hook = "http://127.0.0.1:1/hook"
    try:
        with Site(tmp_path, section={"Database": database, "Webhook": hook}, listen=True) as site:
            site.wait_for_following()
            assert "its ledger is postgresql://127.0.0.1" in one(site.log(), STARTED)
            sent = make_study(instances=4)
            site.emulator.switch(bandwidth=20_000)
            for content in sent:
                site.upload(content)
            server.stop()
            for _ in range(12):
                assert site.api("GET", "/gcp/transfers")[0] == 503
                time.sleep(1)
            server.start()
            site.emulator.switch(bandwidth=None)
            site.wait_for(confirmed=4)
            wait_until(lambda: "the ledger is reached again" in site.log(), 30, site.log)
            said = one(site.log(), "the ledger cannot be reached")
            assert re.search(rf"; since {TIME}, next try in [\d.]+ s$", said)
            one(site.log(), "the ledger is reached again after")
            assert "hush" not in site.log()
    finally:
        server.remove()
