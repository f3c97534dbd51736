"""What is in quarantine is sent again, and followed until it is confirmed."""

from __future__ import annotations

import json

from tests.commands.conftest import site
from tests.support.studies import SECOND, conflicting, delete, run, run_json

__all__ = ["site"]


def test_retry_sends_what_is_in_quarantine(site):
    study = conflicting(site)
    (row,) = [row for row in study.rows() if row.state == "quarantined"]
    said = run(site, "quarantine", code=1)
    assert f"google: conflict: 1 instance of 1 study, {row.size_bytes:,} bytes" in said
    said = run(site, "retry", "--reason", "invalid", code=2)
    assert said == "nothing is in quarantine for the reason invalid: expected one of conflict\n"
    said = run(site, "retry", "--study", "1.2.3", code=2)
    assert said == f"the ledger knows of no study 1.2.3: in quarantine are {study.uid}\n"
    assert run(site, "retry", "--account", SECOND) == "queued again: 0 instances\n"
    told = json.loads(run(site, "retry", "--study", study.uid, "--wait", "--json", code=1))
    assert (told["Queued"], told["Confirmed"], told["Open"]) == (1, 0, 0)
    assert [one["Reason"] for one in told["Unconfirmed"]] == ["conflict"]
    delete(site, study, row.sop_instance_uid)  # what the store had in its place
    chosen = ("--study", study.uid, "--instance", row.sop_instance_uid, "--reason", "conflict")
    assert run(site, "retry", "--account", "google", *chosen, "--wait") == (
        "queued again: 1 instance\n1 of 1 instance confirmed\n"
    )
    assert study.states() == ["confirmed"] * 3
    (account,) = run_json(site, "receipt", study.uid)["Accounts"]
    kinds = [event["Kind"] for event in account["Events"]]
    assert kinds == ["quarantined", "retried", "quarantined", "retried"]


def test_what_was_dismissed_comes_back_by_retry(site):
    study = conflicting(site)
    (row,) = [row for row in study.rows() if row.state == "quarantined"]
    chosen = ("--instance", row.sop_instance_uid)
    listed = json.loads(run(site, "quarantine", *chosen, "--json", code=1))["Listed"]
    run(site, "quarantine", "--dismiss", "a phantom", *chosen, "--listed", listed)
    (google, _) = run_json(site, "status")["Accounts"]
    assert google["Dismissed"]["Instances"] == 1
    assert google["Quarantined"]["Instances"] == google["Waiting"]["Instances"] == 0
    audit = json.loads(run(site, "audit", "--study", study.uid, "--json"))
    assert audit["Counts"]["Dismissed"] == 1
    said = run(site, "receipt", study.uid, code=1)
    assert "1 dismissed" in said
    assert ": a phantom" in said
    delete(site, study, row.sop_instance_uid)
    run(site, "retry", "--instance", row.sop_instance_uid, "--wait")
    assert study.states() == ["confirmed"] * 3


def test_what_no_retry_sends_is_told(site, tmp_path):
    """It is for a store that the account was; a retry would not send it there."""
    study = conflicting(site)
    whole = json.loads(site.orthanc.configuration_file.read_text())
    whole["StorageDirectory"] = str(site.orthanc.folder / "storage")
    whole["GoogleCloudPlatform"]["Accounts"]["google"]["DicomStore"] = "other"
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(whole))
    said = run(site, "retry", "--study", study.uid, config=file).splitlines()
    assert said[0] == "queued again: 0 instances"
    assert said[1].startswith("left: 1 instance, for a store that the account is not by now")
    waited = ("--study", study.uid, "--wait", "--json")
    told = json.loads(run(site, "retry", *waited, config=file, code=1))
    assert (told["Queued"], told["Left"], told["Instances"]) == (0, 1, 0)
    run(site, "retry", "--account", SECOND, "--wait", config=file)
    (row,) = [row for row in study.rows() if row.state == "quarantined"]
    delete(site, study, row.sop_instance_uid)
    assert "left" not in run(site, "retry", "--study", study.uid, "--wait")
