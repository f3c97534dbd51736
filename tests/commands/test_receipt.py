"""A receipt says what became of a study, and can be recomputed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import datetime, timedelta

from tests.support.emulator import STORE_PATH
from tests.support.studies import (
    SECOND,
    Study,
    conflicting,
    run,
    run_json,
)


def test_a_receipt_can_be_recomputed_from_the_files(site, tmp_path):
    study = Study(site, series=2).confirmed()
    told = run_json(site, "receipt", study.uid)
    (account,) = told["Accounts"]
    assert told["Complete"] is account["Complete"] is True
    instances = [one for series in account["Series"] for one in series["Instances"]]
    assert {one["Instance"]: one["Sha256"] for one in instances} == {
        uid: hashlib.sha256(content).hexdigest() for uid, content in study.files.items()
    }
    assert {one["Instance"]: one["Bytes"] for one in instances} == {
        uid: len(content) for uid, content in study.files.items()
    }
    # The digest of all by nothing but what every machine has.
    for uid, content in study.files.items():
        (tmp_path / uid).write_bytes(content)
    recomputed = subprocess.run(
        "sha256sum * | awk '{print $2, $1}' | LC_ALL=C sort | sha256sum",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert account["Sha256"] == recomputed.stdout.split()[0]
    # Who, where, when.
    key = json.loads((site.emulator.credentials / "service-account.json").read_text())
    assert account["SentBy"] == [key["client_email"]]
    assert account["Workers"] == ["worker"]
    assert account["Store"] == STORE_PATH
    assert account["Sources"] == ["test/ORTHANC"]
    for one in instances:
        times = [
            datetime.fromisoformat(one[name]) for name in ("Received", "Acknowledged", "Confirmed")
        ]
        assert times == sorted(times)
        assert times[0].utcoffset() == timedelta(0)
    text = run(site, "receipt", study.uid)
    assert "wholly confirmed, 8 instances" in text
    for word in (account["Sha256"], key["client_email"], *study.files):
        assert word in text
    assert "Custody^Test" not in text + json.dumps(told)


def test_a_receipt_says_what_is_not_confirmed_and_why(site):
    study = conflicting(site)
    told = run_json(site, "receipt", study.uid, code=1)
    (account,) = told["Accounts"]
    assert told["Complete"] is False
    assert account["States"] == {"confirmed": 2, "quarantined": 1}
    confirmed = [row for row in study.rows() if row.state == "confirmed"]
    lines = "".join(sorted(f"{row.sop_instance_uid} {row.sha256}\n" for row in confirmed))
    assert account["Sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    (event,) = account["Events"]
    assert event["Kind"] == "quarantined"
    assert event["Instance"] in study.files
    text = run(site, "receipt", study.uid, code=1)
    assert "NOT WHOLLY CONFIRMED, 3 instances" in text
    assert "1 quarantined" in text
    assert "quarantined (conflict: the store has other bytes" in text


def test_receipts_of_what_is_not_known(site):
    study = Study(site).confirmed()
    assert "knows of no study 1.2.3" in run(site, "receipt", "1.2.3", code=2)
    said = run(site, "receipt", study.uid, "--account", SECOND, code=2)
    assert f"knows of no study {study.uid} that was to be sent to account second" in said
