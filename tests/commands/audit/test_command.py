"""An audit finds each difference between Orthanc, the ledger and the stores."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from orthanc_gcp.cli import app
from orthanc_gcp.ledger.database import writing
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import change_cursors, transfers
from tests.support.disks import small_disk
from tests.support.emulator import STORE_PATH
from tests.support.front import Front
from tests.support.mishaps import copy_database
from tests.support.orthanc import Orthanc, free_port, wait_until
from tests.support.sent import changed
from tests.support.site import make_instance
from tests.support.studies import (
    SECOND,
    Study,
    delete,
    other_bytes,
    read,
    run,
    run_json,
    store,
)
from tests.support.terminal import invoke


def kinds(line, *names):
    return {name: [one["Instance"] for one in line.get(name, [])] for name in names}


def test_audit_finds_what_is_missing_different_and_unknown(site):
    study = Study(site, instances=6).confirmed()
    said = run(site, "audit", "--study", study.uid, "--bytes")
    assert "compared 1 study, 6 instances, " in said
    assert "no difference" in said

    missing, replaced, *_ = study.files
    delete(site, study, missing)
    delete(site, study, replaced)
    different = other_bytes(study.files[replaced])
    store(site, different)
    extra = make_instance(study.uid)
    store(site, extra)
    extra_uid = next(read([extra]))[0].SOPInstanceUID

    told = run_json(site, "audit", "--study", study.uid, code=1)
    (found,) = told["Studies"]
    names = ("Missing", "Different", "Unknown")
    assert kinds(found, *names) == {
        "Missing": [missing],
        "Different": [],
        "Unknown": [extra_uid],
    }

    told = run_json(site, "audit", "--study", study.uid, "--bytes", code=1)
    (found,) = told["Studies"]
    (one,) = found["Different"]
    assert one["Instance"] == replaced
    assert one["Series"] == study.series
    assert one["Sha256"] == hashlib.sha256(study.files[replaced]).hexdigest()
    assert one["StoreSha256"] == hashlib.sha256(different).hexdigest()
    assert one["Md5"] == hashlib.md5(study.files[replaced]).hexdigest()
    assert one["StoreMd5"] == hashlib.md5(different).hexdigest()
    assert found["Counts"] == {
        "Instances": 6,
        "Stored": 4,
        "Missing": 1,
        "Different": 1,
        "Unknown": 1,
    }
    assert told["Differing"] == 1
    assert set(study.states()) == {"confirmed"}, "without --fix nothing is written"
    text = run(site, "audit", "--study", study.uid, "--bytes", code=1)
    assert re.search(rf"missing +{missing}  series {study.series}\n", text)
    assert re.search(rf"different +{replaced} ", text)
    assert re.search(rf"unknown +{extra_uid} ", text)
    run(site, "audit", "--study", study.uid, "--fix", code=1)
    study.confirmed()


def test_audit_has_missing_instances_sent_again(site):
    study = Study(site).confirmed()
    missing = next(iter(study.files))
    delete(site, study, missing)
    told = run_json(site, "audit", "--study", study.uid, "--fix", code=1)
    assert told["Counts"]["Queued"] == 1
    study.confirmed()
    assert site.stored_bytes(study.uid, study.series, missing) == study.files[missing]
    run(site, "audit", "--study", study.uid, "--bytes")
    (account,) = run_json(site, "receipt", study.uid)["Accounts"]
    assert [(one["Kind"], one["Instance"]) for one in account["Events"]] == [("missing", missing)]


def test_what_is_different_does_not_stay_confirmed(site):
    """It comes into quarantine, as the account keeps what the store has."""
    study = Study(site, instances=2).confirmed()
    different = next(iter(study.files))
    delete(site, study, different)
    store(site, other_bytes(study.files[different]))
    told = run_json(site, "audit", "--study", study.uid, "--bytes", "--fix", code=1)
    assert told["Counts"] == {"Instances": 2, "Stored": 1, "Different": 1, "Queued": 1}
    study.wait_for("confirmed", "quarantined")
    told = run_json(site, "audit", "--study", study.uid, code=1)
    assert told["Counts"] == {"Instances": 2, "Stored": 1, "Quarantined": 1}
    delete(site, study, different)
    run(site, "retry", "--study", study.uid)
    study.confirmed()
    run(site, "audit", "--study", study.uid, "--bytes")


def test_audit_does_not_queue_what_orthanc_has_no_more(site):
    study = Study(site).confirmed()
    missing = next(iter(study.files))
    delete(site, study, missing)
    site.orthanc.request("DELETE", f"/instances/{study.resources[0]}")
    told = run_json(site, "audit", "--study", study.uid, "--fix", code=1)
    (found,) = told["Studies"]
    (one,) = found["Missing"]
    assert (one["Instance"], one["InOrthanc"], one["InStore"]) == (missing, False, False)
    assert "Queued" not in told["Counts"]
    assert study.states() == ["confirmed"] * 4
    forget(site, transfers.c.sop_instance_uid == missing)


def test_audit_a_period(site):
    study = Study(site).confirmed()
    today = datetime.now(UTC)
    before, after = (
        (today + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S") for days in (-1, 1)
    )
    nothing = run_json(site, "audit", "--since", after)
    assert nothing["Compared"] == {"Studies": 0, "Instances": 0, "Bytes": 0}
    nothing = run_json(site, "audit", "--until", before)
    assert nothing["Compared"] == {"Studies": 0, "Instances": 0, "Bytes": 0}
    delete(site, study, next(iter(study.files)))
    told = run_json(site, "audit", "--since", before, "--until", after, code=1)
    assert study.uid in [one["Study"] for one in told["Studies"]]
    assert told["Compared"]["Studies"] == len({row.study_instance_uid for row in site.rows()})
    run(site, "audit", "--study", study.uid, "--fix", code=1)
    study.confirmed()


def test_audit_says_when_a_store_cannot_be_asked(site):
    study = Study(site).confirmed()
    site.emulator.switch(deniedPermissions=["healthcare.dicomStores.dicomWebRead"])
    try:
        told = run_json(site, "audit", "--study", study.uid, code=2)
        (found,) = told["Studies"]
        assert "403" in found["Error"]
        said = run(site, "audit", "--study", study.uid, "--account", "google", code=2)
        assert f"account google, study {study.uid}: not compared: " in said
    finally:
        site.emulator.switch(deniedPermissions=[])


def test_audit_goes_on_after_a_study_that_cannot_be_asked(site):
    studies = [Study(site, instances=1).confirmed() for _ in range(3)]
    first, second, third = sorted(studies, key=lambda one: one.uid)
    delete(site, third, next(iter(third.files)))
    fault = {"path": f"/studies/{second.uid}/instances", "method": "GET", "status": 400}
    site.emulator.switch(faults=[fault])
    try:
        told = run_json(site, "audit", code=2)
    finally:
        site.emulator.switch(faults=[])
    found = {line["Study"]: line for line in told["Studies"]}
    assert "400" in found[second.uid]["Error"]
    assert len(found[third.uid]["Missing"]) == 1
    assert first.uid not in found
    assert told["Errors"] == 1
    run(site, "audit", "--study", third.uid, "--fix", code=1)
    third.confirmed()


def configured(site, tmp_path, change):
    """The configuration of the site, but for a change of its section."""
    whole = json.loads(site.orthanc.configuration_file.read_text())
    whole["StorageDirectory"] = str(site.orthanc.folder / "storage")
    change(whole["GoogleCloudPlatform"])
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(whole))
    return file


def test_audit_with_mistakes_in_the_configuration(site, tmp_path):
    study = Study(site, instances=1).confirmed()

    def change(section):
        section["Send"].append({"To": "google", "Modality": "CT"})
        del section["Accounts"][SECOND]["Location"]

    file = configured(site, tmp_path, change)
    told = run_json(site, "audit", "--study", study.uid, code=2, config=file)
    errors = [line["Error"] for line in told["Studies"]]
    assert any("Send[2]" in error for error in errors), errors
    assert told["Counts"] == {"Instances": 1, "Stored": 1}
    said = run(site, "audit", "--account", SECOND, code=2, config=file)
    assert f"Accounts.{SECOND}.Location" in said


def test_audit_says_which_account_is_not_configured(site, tmp_path):
    study = Study(site, modality="CT")
    run(site, "send", *study.resources, "--to", SECOND, "--orthanc", site.orthanc.url)
    study.confirmed()
    file = configured(site, tmp_path, lambda section: section["Accounts"].pop(SECOND))
    told = run_json(site, "audit", "--study", study.uid, code=2, config=file)
    assert {
        "Study": study.uid,
        "Account": SECOND,
        "Error": "the configuration has no such account",
    } in told["Studies"]
    text = run(site, "receipt", study.uid, config=file)
    assert "the configuration has this account no more" in text


def lines_of(path):
    return list(map(json.loads, path.read_text().splitlines()))


def planted(site, study, **values):
    """The first row of a study is another than it was."""
    engine = site.engine()
    row = study.rows()[0]
    with engine.begin() as connection:
        connection.execute(transfers.update().where(transfers.c.id == row.id).values(**values))
    engine.dispose()
    return row.sop_instance_uid


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ("waiting", "Waiting", 1),
        ("quarantined", "Quarantined", 1),
        ("lost", "Lost", 1),
        ("superseded", "Superseded", 1),  # by none that is there
        ("withdrawn", "Withdrawn", 0),
    ],
)
def test_audit_says_what_the_ledger_knows(site, tmp_path, state, kind, code):
    study = Study(site, instances=2).confirmed()
    # What waits under an account that nothing is sent to by now, as the worker would send it.
    more = {"account": "gone"} if state == "waiting" else {}
    one = planted(site, study, state=state, reason="closed", **more)
    report = tmp_path / "report"
    run(site, "audit", "--study", study.uid, "--report", report, code=2 if more else code)
    _, *lines, _ = lines_of(report)
    found = {line["Account"]: line for line in lines}
    if more:
        assert found["gone"]["Error"] == "the configuration has no such account"
        planted(site, study, state="held", account="google")
        run_json(site, "audit", "--study", study.uid, code=1)
    else:
        assert [each["Instance"] for each in found["google"][kind]] == [one]
    planted(site, study, state="confirmed", account="google", reason=None)


@pytest.fixture
def still(site):
    """Without a worker, which compares Orthanc with the ledger by itself when it begins."""
    studies = Study(site, instances=3).confirmed(), Study(site, instances=2).confirmed()
    site.stop_worker()
    yield studies
    site.start_worker()
    for study in studies:
        study.confirmed()


def test_audit_finds_what_the_ledger_does_not_know(site, still):
    study, before = still
    forgotten = study.rows()[1]
    forget(site, transfers.c.id == forgotten.id)
    told = run_json(site, "audit", "--study", study.uid, code=1)
    (found,) = told["Studies"]
    (one,) = found["NotInLedger"]
    assert one["Instance"] == forgotten.sop_instance_uid
    assert one["InStore"] is True, "and nobody has shown that it is the same"
    assert found["Counts"] == {"Instances": 3, "Stored": 2, "NotInLedger": 1}
    told = run_json(site, "audit", "--study", study.uid, "--fix", code=1)
    assert told["Counts"]["Queued"] == 1
    assert study.states() == ["confirmed", "confirmed", "waiting"]

    forget(site, transfers.c.study_instance_uid == before.uid)
    engine = site.engine()
    since = change_cursors.c.since
    with engine.begin() as connection:
        connection.execute(change_cursors.update().values(since=since + 3600))
    told = run_json(site, "audit", "--study", before.uid)
    assert told["Counts"] == {"BeforeFollowing": 2}
    said = run(site, "audit", "--study", before.uid)
    assert "received before following began, and in no backfill: 2" in said
    # Another ledger may have known of them.
    index = run_json(site, "indexes")[0]["Index"]
    values = {"noticed_at": time.time(), "instances": 2, "accepted": False}
    Ledger(engine).key_values.set(f"former_ledger:{index}", values)
    told = run_json(site, "audit", "--study", before.uid, code=1)
    assert told["Counts"] == {"Instances": 2, "NotInLedger": 2}
    run(site, "indexes", "--accept-ledger", index)
    run(site, "audit", "--study", before.uid)
    with engine.begin() as connection:
        connection.execute(change_cursors.update().values(since=since - 3600))
    engine.dispose()
    run(site, "audit", "--study", before.uid, "--fix", code=1)


def test_audit_of_one_account_queues_what_is_new_for_all_that_the_rules_name(site, still, tmp_path):
    """With a row of one account alone, the worker's comparison would look for no other."""
    study, _ = still
    forget(site, transfers.c.id == study.rows()[1].id)
    rules = [{"To": "google"}, {"To": SECOND, "Tags": {"StudyInstanceUID": study.uid}}]
    file = configured(site, tmp_path, lambda section: section.update(Send=rules))
    options = ("--study", study.uid, "--account", "google", "--fix")
    told = run_json(site, "audit", *options, code=1, config=file)
    assert told["Counts"] == {"Instances": 3, "Stored": 2, "NotInLedger": 1, "Queued": 2}
    waiting = sorted(row.account for row in study.rows() if row.state == "waiting")
    assert waiting == ["google", SECOND]
    told = run_json(site, "audit", *options, code=1, config=file)
    assert "Queued" not in told["Counts"], "it is queued once"
    forget(site, (transfers.c.study_instance_uid == study.uid) & (transfers.c.account == SECOND))


def forget(site, which):
    engine = site.engine()
    with engine.begin() as connection:
        connection.execute(transfers.delete().where(which))
    engine.dispose()


def test_audit_counts_what_no_rule_wants(site):
    study = Study(site, instances=2, modality="US")
    told = run_json(site, "audit", "--study", study.uid)
    assert told["Counts"] == {"NotWanted": 2}


def test_audit_finds_a_study_in_the_store_that_nobody_knows(site):
    foreign = make_instance()
    store(site, foreign)
    uids = next(read([foreign]))[0]
    told = run_json(site, "audit")
    (found,) = [one for one in told["Studies"] if one["Study"] == uids.StudyInstanceUID]
    assert kinds(found, "Unknown") == {"Unknown": [uids.SOPInstanceUID]}
    assert "known to neither Orthanc nor the ledger: " in run(site, "audit")
    run(site, "audit", "--study", uids.StudyInstanceUID)
    said = run(site, "audit", "--study", "1.2.3", code=2)
    assert "study 1.2.3: not compared: neither Orthanc nor the ledger nor a store knows of" in said


@pytest.mark.parametrize("study", ["1.2.3", ""])
def test_audit_of_a_study_that_nobody_knows(site, tmp_path, study):
    """Such as one that was misspelt, or that a script has in a variable without a value."""
    report = tmp_path / "report"
    told = run_json(site, "audit", "--study", study, "--report", str(report), code=2)
    (error,) = (line["Error"] for line in told["Studies"])
    assert "neither Orthanc nor the ledger nor a store knows of it" in error
    assert (told["Errors"], told["ExitCode"]) == (1, 2)
    assert lines_of(report)[-1]["End"]["ExitCode"] == 2


def test_audit_of_a_period_that_is_none(site):
    for until in ("2026-01-01", "2026-01-02"):
        said = run(site, "audit", "--since", "2026-01-02", "--until", until, code=2)
        assert "--until is to be later" in said


def test_audit_with_two_patients_under_one_study(site):
    """They are two resources in Orthanc, and one study in the store."""
    study = Study(site, instances=1).confirmed()
    (file,) = study.files.values()
    site.upload(changed(file, PatientID="corrected", InstanceNumber=7))
    study.wait_for("confirmed", "quarantined")  # the store has the older version, and keeps it
    told = run_json(site, "audit", "--study", study.uid, code=1)
    assert told["Counts"] == {"Instances": 1, "Quarantined": 1}
    forget(site, transfers.c.study_instance_uid == study.uid)
    for name in site.orthanc.json("POST", "/tools/lookup", study.uid.encode()):
        site.orthanc.request("DELETE", name["Path"])


def test_an_orthanc_that_cannot_be_asked(site, tmp_path):
    study = Study(site).confirmed()
    report = tmp_path / "report"
    away = ("--study", study.uid, "--orthanc", "http://127.0.0.1:1", "--report", report)
    said = run(site, "audit", *away, code=2)
    assert "http://127.0.0.1:1 does not answer" in said
    assert "--without-orthanc" in said
    assert not report.exists()
    said = run(site, "audit", *away, "--without-orthanc", code=2)
    assert "compared 1 study, 4 instances" in said
    assert "Orthanc was not asked: whether all is there is not known" in said
    delete(site, study, next(iter(study.files)))
    run(site, "audit", "--study", study.uid, "--without-orthanc", code=1)
    said = run(site, "audit", "--fix", "--without-orthanc", code=2)
    assert "--fix needs Orthanc" in said
    run(site, "audit", "--study", study.uid, "--fix", code=1)
    study.confirmed()


def test_an_account_that_no_client_can_be_made_for(site, tmp_path):
    study = Study(site, instances=1).confirmed()
    whole = json.loads(site.orthanc.configuration_file.read_text())
    (tmp_path / "ca.pem").write_text("no certificate")
    whole |= {
        "StorageDirectory": str(site.orthanc.folder / "storage"),
        "HttpsCACertificates": "ca.pem",
    }
    whole["GoogleCloudPlatform"]["BaseUrl"] = "https://healthcare.googleapis.com/v1beta1/"
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(whole))
    told = run_json(site, "audit", "--study", study.uid, code=2, config=file)
    (found,) = told["Studies"]
    assert "HttpsCACertificates" in found["Error"]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another Orthanc, which nobody follows."""
    with Orthanc(tmp_path_factory.mktemp("other"), {"Name": "other"}, plugins=()) as other:
        yield other


def test_an_orthanc_that_is_another(site, other):
    Study(site, instances=1).confirmed()
    told = run_json(site, "audit", "--orthanc", other.url, code=2)
    (error,) = [line["Error"] for line in told["Studies"] if line["Study"] is None]
    assert "the ledger does not know the index of Orthanc other/ORTHANC" in error
    said = run(site, "audit", "--orthanc", other.url, "--fix", code=2)
    assert "start its worker first" in said


def test_a_report(site, tmp_path):
    study = Study(site, instances=2).confirmed()
    missing = next(iter(study.files))
    delete(site, study, missing)
    path = tmp_path / "report"
    run(site, "audit", "--study", study.uid, "--report", path, code=1)
    header, line, end = lines_of(path)
    assert header["Selection"]["Study"] == study.uid
    assert header["Orthanc"]["Url"] == site.orthanc.url
    assert header["Orthanc"]["Index"] == study.rows()[0].source
    assert header["Orthanc"]["FollowedSince"] <= header["Began"]
    assert set(header["Stores"]) == {"google", SECOND}
    assert kinds(line, "Missing") == {"Missing": [missing]}
    assert line["Stored"] == {study.series: [one for one in study.files if one != missing]}
    assert (end["End"]["Complete"], end["End"]["ExitCode"]) == (True, 1)
    assert end["End"]["LostChanges"] == 0
    assert "Custody" not in path.read_text(), "no names of patients"

    again = ("--study", study.uid, "--report", path)
    assert "is there already" in run(site, "audit", *again, code=2)
    assert "it is complete" in run(site, "audit", *again, "--resume", code=2)
    said = run(site, "audit", "--report", path, "--resume", code=2)
    assert "another selection" in said
    nowhere = tmp_path / "no" / "report"
    said = run(site, "audit", "--report", nowhere, code=2)
    assert f"{nowhere}: cannot be written: No such file or directory" in said
    assert "none that was broken off" in run(site, "audit", "--resume", code=2)
    run(site, "audit", "--study", study.uid, "--fix", code=1)
    study.confirmed()


def test_a_report_for_which_there_is_no_room(site, tmp_path):
    """What was written stays, and it goes on when there is."""
    study = Study(site, instances=60).confirmed()
    more = ["--study", study.uid, "--report"]
    with small_disk(tmp_path / "disk", "4k") as disk:
        said = run(site, "audit", *more, disk / "report", code=2)
        assert f"{disk / 'report'}: cannot be written: No space left on device" in said
        assert "Traceback" not in said
        begun = tmp_path / "report"
        begun.write_bytes((disk / "report").read_bytes())
    run(site, "audit", *more, begun, "--resume")
    _, line, end = lines_of(begun)
    assert (len(line["Stored"][study.series]), end["End"]["ExitCode"]) == (60, 0)


def test_one_that_is_broken_off_and_gone_on_with(site, tmp_path):
    studies = [Study(site, instances=1).confirmed() for _ in range(4)]
    studies.sort(key=lambda one: one.uid)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    code = (
        CliRunner()
        .invoke(app, ["audit", str(site.orthanc.configuration_file), "--report", str(whole)])
        .exit_code
    )
    slow = {"path": f"/studies/{studies[2].uid}/instances", "method": "GET", "delay": 30}
    site.emulator.switch(faults=[slow])
    arguments = [str(site.orthanc.configuration_file), "--report", str(parts)]
    try:
        process = start(*arguments)
        wait_until(lambda: studies[1].uid in parts.read_text() if parts.exists() else False, 30)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    finally:
        site.emulator.switch(faults=[])
    assert process.returncode == 130
    assert "Traceback" not in said
    place, total = re.search(
        r"broken off after (\d+) of (\d+) studies; this goes on:", said
    ).groups()
    assert 0 < int(place) < int(total)
    *_, end = lines_of(parts)
    assert (end["End"]["Complete"], end["End"]["ExitCode"]) == (False, 130)
    _, *command = shlex.split(said.splitlines()[-1])
    assert command == ["audit", *arguments, "--resume"]
    invoke(*command, code=code)
    assert [*results(parts)] == [*results(whole)]


def results(path):
    """All lines but for the times."""
    header, *lines, end = lines_of(path)
    for document in header, end["End"]:
        document.pop("Began")
    end["End"].pop("Ended")
    return [header, *lines, end]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "orthanc_gcp", "audit", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def of_other_store(section):
    accounts = section["Accounts"]
    accounts["google"] = {**accounts["google"], "DicomStore": accounts[SECOND]["DicomStore"]}


def without_account(section):
    del section["Accounts"][SECOND]
    section["Send"] = [one for one in section["Send"] if one["To"] != SECOND]


def of_other_rules(section):
    section["Send"][0]["Modalities"] = ["CT"]


def with_backfill(section):
    section["Backfill"] = {}


def test_one_part_of_one_ledger_and_one_of_another(site, tmp_path):
    """A study that one of them knows to be there was said to be so by the other."""
    study = Study(site, instances=1).confirmed()
    more = ["--study", study.uid, "--without-orthanc", "--report", tmp_path / "report"]
    broken_off_at_once(site, more)
    other = tmp_path / "other.sqlite"
    copy_database(site.orthanc.folder / "storage/orthanc-gcp.sqlite", other)
    file = configured(site, tmp_path, lambda section: section.update(Database=f"sqlite:///{other}"))
    said = run(site, "audit", *more, "--resume", code=2, config=file)
    assert "of another ledger" in said
    assert "no difference" in run(site, "audit", *more, "--resume", code=2)


@pytest.mark.parametrize("change", [of_other_store, without_account, of_other_rules, with_backfill])
@pytest.mark.parametrize("reported", [True, False])
def test_one_part_of_one_configuration_and_one_of_another(site, tmp_path, change, reported):
    """Neither store would have been seen to have it all, nor what is wanted to be there."""
    study = Study(site, instances=1).confirmed()
    report = ["--report", tmp_path / "report"] if reported else []
    more = ["--study", study.uid, *report]
    broken_off_at_once(site, more)
    file = configured(site, tmp_path, change)
    said = run(site, "audit", *more, "--resume", code=2, config=file)
    assert "of other stores or rules" in said
    run(site, "audit", *more, "--resume", config=configured(site, tmp_path, lambda _: None))


def broken_off_at_once(site, more):
    """An audit that got a signal while it compared its only study."""
    slow = {"path": "/studies/*", "method": "GET", "delay": 30}
    site.emulator.switch(faults=[slow])
    try:
        process = start(str(site.orthanc.configuration_file), *map(str, more))
        wait_until(lambda: site.emulator.switches()["faults"][0]["matched"] > 0, 30)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    finally:
        site.emulator.switch(faults=[])
    assert process.returncode == 130, said


def test_one_without_a_report_that_is_broken_off(site):
    studies = sorted((Study(site, instances=1).confirmed() for _ in range(3)), key=lambda s: s.uid)
    delete(site, studies[0], next(iter(studies[0].files)))
    slow = {"path": f"/studies/{studies[2].uid}/instances", "method": "GET", "delay": 30}
    site.emulator.switch(faults=[slow])
    file = str(site.orthanc.configuration_file)
    try:
        process = start(file)
        wait_until(lambda: site.emulator.switches()["faults"][0]["matched"] > 0, 30)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    finally:
        site.emulator.switch(faults=[])
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"orthanc-gcp audit {file} --resume"
    refused = run(site, "audit", "--bytes", "--resume", code=2)
    assert "another selection" in refused
    told = run_json(site, "audit", "--resume", code=1)
    assert studies[0].uid not in [line["Study"] for line in told["Studies"]]
    again = run_json(site, "audit", code=1)
    for name in ("Compared", "Counts", "Differing"):
        assert again[name] == told[name], "what was found before counts"
    assert "none that was broken off" in run(site, "audit", "--resume", code=2)
    run(site, "audit", "--study", studies[0].uid, "--fix", code=1)
    studies[0].confirmed()


def test_one_that_began_anew_is_not_gone_on_with_from_the_place_of_the_one_before(site):
    """That one does not look for what was received since: the later one may have been killed."""
    study, other = (Study(site, instances=1).confirmed() for _ in range(2))
    broken_off_at_once(site, ["--study", study.uid])
    run(site, "audit", "--study", other.uid)
    said = run(site, "audit", "--study", study.uid, "--resume")
    assert re.search(r"goes on with the audit that began at 20\d\d-\d\d-\d\dT.*\+00:00\n", said)
    broken_off_at_once(site, ["--study", study.uid])
    assert "goes on" not in run(site, "audit", "--study", study.uid)
    said = run(site, "audit", "--study", study.uid, "--resume", code=2)
    assert "none that was broken off" in said


def test_whoever_is_impatient_is_told_how_far_it_came_all_the_same(site):
    """The second signal comes while the ledger is busy, and the place cannot be written yet."""
    study = Study(site, instances=1).confirmed()
    slow = {"path": "/studies/*", "method": "GET", "delay": 30}
    site.emulator.switch(faults=[slow])
    file = str(site.orthanc.configuration_file)
    try:
        process = start(file, "--study", study.uid)
        wait_until(lambda: site.emulator.switches()["faults"][0]["matched"] > 0, 30)
        with writing(site.engine()):
            process.send_signal(signal.SIGINT)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        said, _ = process.communicate(timeout=20)
    finally:
        site.emulator.switch(faults=[])
    assert process.returncode == 130
    assert "before anything was compared" not in said
    assert said.splitlines()[-1] == f"orthanc-gcp audit {file} --study {study.uid} --resume"
    run(site, "audit", "--study", study.uid, "--resume")


def test_audit_of_an_account_that_is_another_store_by_now(site, tmp_path):
    study = Study(site, instances=2).confirmed()

    def change(section):
        section["Accounts"]["google"]["DicomStore"] = section["Accounts"][SECOND]["DicomStore"]

    file = configured(site, tmp_path, change)
    told = run_json(site, "audit", "--study", study.uid, code=1, config=file)
    (found,) = told["Studies"]
    store = f"{STORE_PATH} at {site.emulator.url}"
    assert [one["Reason"] for one in found["FormerStore"]] == [f"confirmed in {store}"] * 2
    assert told["Counts"] == {"Instances": 2, "FormerStore": 2}
    assert run_json(site, "audit", "--study", study.uid)["Counts"] == {"Instances": 2, "Stored": 2}


class Watching(Front):
    """Does something once when Orthanc was asked for the instances of a study."""

    def __init__(self, site, study, act) -> None:
        super().__init__()
        self.target, self._act = site.orthanc.url, act
        path = f"/instances/{study.resources[0]}/study"
        self._study = site.orthanc.json("GET", path)["ID"].encode()

    @contextmanager
    def passing(self, body):
        yield
        if self._study in body and b"Level" not in body and self._act:
            act, self._act = self._act, None
            act()


def test_an_orthanc_that_has_another_index_in_the_end(site, other):
    """All that it had before would look as if it had deleted it."""
    study = Study(site, instances=1).confirmed()

    def switch():
        front.target = other.url

    with Watching(site, study, switch) as front:
        said = run(site, "audit", "--study", study.uid, "--orthanc", front.url, code=2)
        assert "Orthanc has another index than in the beginning" in said
        front.shutdown()


class Swapping(Front):
    """Has another Orthanc answer for a second, from a question of one kind on, then none."""

    def __init__(self, site, other, asked) -> None:
        nobody = f"http://127.0.0.1:{free_port()}"
        self._urls = [other.url, nobody, site.orthanc.url]
        self._asked, self._began = asked, None
        super().__init__()

    @property
    def target(self):
        paths = [path for _, path, _ in self.heads]
        has_begun = any(path.startswith(("/studies", "/tools/find")) for path in paths)
        if has_begun and paths[-1].startswith(self._asked) and self._began is None:
            self._began = time.monotonic()
        if self._began is None:
            return self._urls[-1]
        return self._urls[min(2, int(time.monotonic() - self._began))]

    @target.setter
    def target(self, _: str) -> None:
        """It is chosen anew for each question."""


@pytest.mark.parametrize("asked", ["/tools/find", "/tools/bulk-content", "/studies"])
def test_an_orthanc_that_has_another_index_for_a_moment(site, other, still, asked):
    """What it has not just then was not deleted: it is waited for."""
    study, _ = still
    forget(site, transfers.c.study_instance_uid == study.uid)
    for instance in study.files:
        delete(site, study, instance)
    of_study = () if asked == "/studies" else ("--study", study.uid)
    with Swapping(site, other, asked) as front:
        told = run_json(site, "audit", *of_study, "--orthanc", front.url, code=1)
        front.shutdown()
    (found,) = (one for one in told["Studies"] if one["Study"] == study.uid)
    assert len(found["NotInLedger"]) == 3
    run(site, "audit", "--study", study.uid, "--fix", code=1)


def test_what_waits_is_a_difference_unless_it_came_meanwhile(site):
    study = Study(site, instances=1).confirmed()
    run(site, "pause", "google")
    late = make_instance(study.uid, study.series)
    try:

        def receive():
            time.sleep(1.1)  # Orthanc records whole seconds
            study.resources.append(site.upload(late))
            study.wait_for("confirmed", "waiting")

        with Watching(site, study, receive) as front:
            told = run_json(site, "audit", "--study", study.uid, "--orthanc", front.url)
            assert told["Counts"] == {"Instances": 1, "Stored": 1}
            front.shutdown()
        assert len(study.resources) == 2
        told = run_json(site, "audit", "--study", study.uid, code=1)
        assert told["Counts"] == {"Instances": 2, "Stored": 1, "Waiting": 1}
    finally:
        run(site, "resume", "google")
    study.wait_for("confirmed", "confirmed")
