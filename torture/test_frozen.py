"""A worker that stands still is taken over from within a minute, as its constants are."""

# ruff: noqa: S101

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import psutil

from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc, wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site, make_study

WITHIN = 60.0


def test_one_of_several_on_postgresql(tmp_path: Path) -> None:
    postgres = Postgres()
    try:
        with Site(tmp_path, section={"Database": postgres.url}) as site:
            site.start_worker("other")
            site.wait_for_following()
            site.emulator.switch(bandwidth=200_000)
            sent = [site.upload(content) for content in make_study(instances=40, size=256)]
            wait_until(lambda: "sending" in site.states(), 30, lambda: str(site.states()))
            victim = next(row.worker for row in site.rows() if row.state == "sending")
            (survivor,) = {"worker", "other"} - {victim}
            site.workers[victim].send_signal(signal.SIGSTOP)
            began = time.monotonic()
            site.emulator.switch(bandwidth=None)
            wait_until(lambda: "is taken over" in site.log(survivor), WITHIN, site.log)
            print(f"\ntaken over from after {time.monotonic() - began:.0f} s")
            site.wait_for(confirmed=len(sent))
            late = [site.upload(content) for content in make_study(instances=5)]
            site.wait_for(confirmed=len(sent) + len(late))
            site.workers[victim].send_signal(signal.SIGCONT)
            last = [site.upload(content) for content in make_study(instances=5)]
            site.wait_for(confirmed=len(sent) + len(late) + len(last))
            assert len(site.stored()) == len(sent) + len(late) + len(last)
    finally:
        postgres.remove()


def test_the_child_of_orthanc(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path / "emulator", "--admin")
    file = str(emulator.credentials / "service-account.json")
    orthanc = Orthanc(
        tmp_path / "orthanc",
        {
            "GoogleCloudPlatform": {
                "BaseUrl": f"{emulator.url}/v1beta1/",
                "Accounts": {"google": {**STORE, "ServiceAccountFile": file}},
                "Send": [{"To": "google"}],
            }
        },
    )
    orthanc.start()
    try:
        orthanc.wait_for_log("following Orthanc", 40)
        (worker,) = psutil.Process(orthanc.pid).children(recursive=True)
        worker.suspend()
        began = time.monotonic()
        for content in make_study(instances=5):
            orthanc.json("POST", "/instances", content)

        def confirmed() -> int:
            answer = orthanc.request("GET", "/gcp/accounts/google/transfers")
            if answer.status != 200:
                return 0
            return int(json.loads(answer.data)["Confirmed"]["Instances"])

        wait_until(lambda: confirmed() == 5, WITHIN, lambda: orthanc.log[-6000:])
        print(f"\nall is confirmed after {time.monotonic() - began:.0f} s")
        assert "it is killed" in orthanc.log
        assert not worker.is_running()
    finally:
        orthanc.stop()
        emulator.stop()
