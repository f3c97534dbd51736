"""What a person has the worker do: pause, resume; send, and wait for the end of it."""

from __future__ import annotations

import time

from tests.support.studies import SECOND, Study, run, run_json


def test_pause_and_resume(site):
    assert run(site, "pause", SECOND) == "account second is paused\n"
    try:
        told = {one["Account"]: one["Paused"] for one in run_json(site, "status")["Accounts"]}
        assert told == {"google": False, SECOND: True}
        assert "second: paused" in run(site, "status")
        Study(site).confirmed()  # the other account goes on
        time.sleep(1)  # the worker looks twice a second at what people have paused
        study = Study(site, modality="CT")
        run(site, "send", *study.resources, "--to", SECOND, "--orthanc", site.orthanc.url)
        Study(site).confirmed()
        assert set(study.states()) == {"waiting"}
    finally:
        assert run(site, "resume", SECOND) == "account second is sent to again\n"
    again = (*study.resources, "--to", SECOND, "--wait", "--orthanc", site.orthanc.url)
    assert run(site, "send", *again).splitlines()[1:] == ["4 of 4 instances confirmed"]
    assert study.states() == ["confirmed"] * 4
