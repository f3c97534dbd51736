"""What a person has the worker do: retry, pause, resume."""

from __future__ import annotations

import time

from tests.support.studies import (
    SECOND,
    Study,
    conflicting,
    delete,
    run,
    run_json,
)


def test_retry_sends_what_is_in_quarantine(site):
    study = conflicting(site)
    (row,) = [row for row in study.rows() if row.state == "quarantined"]
    for options in (["--reason", "invalid"], ["--study", "1.2.3"], ["--account", SECOND]):
        assert run(site, "retry", *options) == "queued again: 0 instances\n"
    delete(site, study, row.sop_instance_uid)  # what the store had in its place
    chosen = ("--study", study.uid, "--instance", row.sop_instance_uid, "--reason", "conflict")
    assert run(site, "retry", "--account", "google", *chosen) == "queued again: 1 instance\n"
    study.confirmed()
    (account,) = run_json(site, "receipt", study.uid)["Accounts"]
    assert [event["Kind"] for event in account["Events"]] == ["quarantined", "retried"]


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
    study.confirmed()
