"""The group *custody*: what the rules want, and what the worker needs to do it."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.doctor import check_custody
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.doctor.orthanc import Site
from orthanc_gcp.ledger.database import connect, make_private
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import schema_version
from orthanc_gcp.ledger.upgrade import LATEST, prepare
from orthanc_gcp.ledger.workers import worker_registry
from orthanc_gcp.orthanc.installation import Service
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.keys import STORE
from tests.support.ledgers import arrival
from tests.support.orthanc import free_port
from tests.support.public_installation import public_folder
from tests.support.simulation import FakeClock

ACCOUNT = {**STORE, "ServiceAccountFile": "key.json"}
SEND = [{"To": "a"}]


def lines(folder: Path, section=None, rest=None, **whole) -> dict[str, Finding]:
    options = {"Accounts": {"a": ACCOUNT}, "Send": SEND, **(section or {})}
    settings = read({"GoogleCloudPlatform": options, **whole}, folder)
    site = Site(folder, settings, rest=rest, sidecar=True)
    return {finding.check: finding for finding in check_custody(site)}


def test_all_that_is_needed_is_there(tmp_path):
    found = lines(tmp_path)
    assert {name: one.result for name, one in found.items()} == {
        "rules": Result.PASSED,
        "backfill": Result.SKIPPED,
        "packages": Result.PASSED,
        "database": Result.PASSED,
        "standstill": Result.SKIPPED,
        "recycling": Result.PASSED,
        "transcoding": Result.PASSED,
        "remote access": Result.PASSED,
        "e-mail": Result.SKIPPED,
    }
    assert found["rules"].cause == "1 rule sends to a"
    assert found["packages"].cause == f"{sys.executable} has all that the worker needs"
    assert "can be made" in found["database"].cause


def test_without_a_rule_nothing_is_needed(tmp_path):
    found = lines(tmp_path, {"Send": []})
    for name in ("rules", "packages", "database", "recycling", "transcoding"):
        assert found[name].result is Result.SKIPPED, name


def test_what_a_gateway_needs(tmp_path, monkeypatch):
    gateway = {"Send": [], "Gateway": {"Aets": {"A": "a"}}}
    found = lines(tmp_path, gateway)["packages"]
    assert found.cause == f"{sys.executable} has all that the gateway needs"
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pynetdicom.py").write_text("raise ModuleNotFoundError('No module pynetdicom')")
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    found = lines(tmp_path, {**gateway, "Send": SEND})["packages"]
    assert found.result is Result.FAILED
    assert "the worker and gateway cannot be started" in found.cause
    assert "pynetdicom" in found.cause
    assert "'orthanc-gcp[worker,gateway]'" in found.remedy


def test_rules_with_a_mistake_or_for_an_account_with_one(tmp_path):
    wrong = lines(tmp_path, {"Send": [{"To": "a", "Level": "Patient"}]})["rules"]
    assert (wrong.result, wrong.cause.partition(":")[0]) == (
        Result.FAILED,
        "GoogleCloudPlatform.Send[0].Level",
    )
    lost = lines(tmp_path, {"Accounts": {"a": {**ACCOUNT, "Verify": "All"}}})["rules"]
    assert lost.result is Result.FAILED
    assert "rules send to a, whose configuration has an error" in lost.cause


# -- Backfill -------------------------------------------------------------------------------------


def test_the_next_opening_of_the_schedule(tmp_path):
    def of(schedule: list[str]) -> Finding:
        return lines(tmp_path, {"Backfill": {"Schedule": schedule}})["backfill"]

    assert of(["00:00-24:00"]).cause == "it may be sent now"
    soon = datetime.now().astimezone() + timedelta(hours=3)
    window = f"{soon:%a} {soon:%H}:00-{soon:%H}:30"
    assert of([window]).cause.startswith(f"it may be sent from {soon:%A %H}:00 on")
    wrong = of(["8-9"])
    assert wrong.result is Result.FAILED
    assert "nothing that was there before is sent" in wrong.cause


# -- The ledger -----------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_folder_that_the_worker_cannot_write():
    with public_folder() as folder:
        os.setresuid(65534, 65534, 0)  # os.access() asks for the real user
        try:
            line = lines(folder)["database"]
        finally:
            os.setresuid(0, 0, 0)
    assert line.result is Result.FAILED
    assert f"{folder} is not writable for Orthanc's user" in line.cause
    assert line.remedy.startswith(f"chown -R orthanc {folder}")


def test_a_database_that_does_not_answer(tmp_path):
    url = f"postgresql://me:pw-1@127.0.0.1:{free_port()}/custody"
    line = lines(tmp_path, {"Database": url})["database"]
    assert line.result is Result.FAILED
    assert "the database 127.0.0.1/custody cannot be reached" in line.cause
    assert "pw-1" not in str(line)


def test_a_database_that_may_only_be_read(postgresql, tmp_path):
    read_only = f"{postgresql}?options=-c%20default_transaction_read_only%3Don"
    line = lines(tmp_path, {"Database": read_only})["database"]
    assert line.result is Result.FAILED
    assert "can only be read" in line.cause
    assert "name the primary" in line.remedy


@pytest.fixture
def ledger(tmp_path):
    """The options for a ledger, and a function that changes it."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    engine = connect(url)
    make_private(engine)
    prepare(engine)

    def change(statement):
        with engine.begin() as connection:
            connection.execute(statement)
        engine.dispose()

    yield {"Database": url}, change
    engine.dispose()


def test_a_ledger_of_this_version_is_there(tmp_path, ledger):
    options, _ = ledger
    found = lines(tmp_path, options)["database"]
    assert (found.result, found.cause) == (Result.PASSED, f"{tmp_path}/ledger.sqlite is there")


def test_a_ledger_that_everybody_may_read(tmp_path, ledger):
    options, _ = ledger
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        file = tmp_path / name
        file.touch()
        file.chmod(0o644)
        found = lines(tmp_path, options)["database"]
        assert found.result is Result.FAILED
        assert f"{name}: every user of this machine may read it" in found.cause
        assert "chmod o-rwx" in found.remedy
        file.chmod(0o600)
    assert lines(tmp_path, options)["database"].result is Result.PASSED


def test_an_older_ledger_is_migrated_by_the_worker(tmp_path, ledger):
    options, change = ledger
    change(schema_version.update().values(version=LATEST - 1))
    found = lines(tmp_path, options)["database"]
    assert found.result is Result.PASSED
    assert "the worker migrates it" in found.cause


def test_a_newer_or_damaged_ledger_is_a_failure(tmp_path, ledger):
    options, change = ledger
    change(schema_version.update().values(version=LATEST + 1))
    found = lines(tmp_path, options)["database"]
    assert found.result is Result.FAILED
    assert f"has version {LATEST + 1}" in found.cause
    change(schema_version.delete())
    assert "is damaged" in lines(tmp_path, options)["database"].cause


def test_a_database_that_is_wrong(tmp_path):
    line = lines(tmp_path, {"Database": "mysql://h/d"})["database"]
    assert line.result is Result.FAILED
    assert "Database" in line.cause


# -- Orthanc's own options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ({"MaximumStorageSize": 1000}, Result.WARNING),
        ({"MaximumPatientCount": 5}, Result.WARNING),
        ({"MaximumStorageSize": 1000, "MaximumStorageMode": "Reject"}, Result.PASSED),
        ({"MaximumStorageSize": 0}, Result.PASSED),
    ],
)
def test_what_orthanc_would_delete_by_itself(tmp_path, options, result):
    kept = lines(tmp_path, **options)["recycling"]
    assert kept.result is Result.PASSED
    line = lines(tmp_path, {"ProtectUnsent": False}, **options)["recycling"]
    assert line.result is result
    if result is Result.WARNING:
        assert "up to 80 %" in kept.cause
        assert line.cause.startswith(" ".join(map(str, next(iter(options.items())))))


RECEIVE = [{"Subscription": "orthanc", "Account": "a"}]


@pytest.mark.parametrize(
    ("section", "result"),
    [
        ({}, Result.PASSED),
        ({"Receive": RECEIVE}, Result.WARNING),
        ({"Accounts": {"a": {**ACCOUNT, "OnConflict": "Replace"}}}, Result.WARNING),
        ({"Accounts": {"a": ACCOUNT, "b": {**ACCOUNT, "OnConflict": "Replace"}}}, Result.PASSED),
    ],
)
def test_what_orthanc_stores_otherwise_than_it_came(tmp_path, section, result):
    assert lines(tmp_path, section)["transcoding"].result is Result.PASSED
    syntax = "1.2.840.10008.1.2.4.51"
    line = lines(tmp_path, section, IngestTranscoding=syntax)["transcoding"]
    assert line.result is result
    assert syntax in line.cause


@pytest.mark.parametrize(
    ("version", "result"), [("1.10.1", Result.WARNING), ("1.11.2", Result.PASSED)]
)
def test_an_orthanc_that_does_not_know_how_to_reject_recycles(tmp_path, version, result):
    executable = tmp_path / "Orthanc"
    executable.write_text(f'#!/bin/sh\necho "$0 {version}"\n')
    executable.chmod(0o755)
    whole = {"MaximumPatientCount": 5, "MaximumStorageMode": "Reject"}
    options = {"Accounts": {"a": ACCOUNT}, "Send": SEND, "ProtectUnsent": False}
    settings = read({"GoogleCloudPlatform": options, **whole}, tmp_path)
    site = Site(tmp_path, settings, Service("orthanc", "unit", executable=executable))
    found = {finding.check: finding for finding in check_custody(site)}
    assert found["recycling"].result is result


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ({"RemoteAccessAllowed": True, "AuthenticationEnabled": False}, Result.FAILED),
        ({"RemoteAccessAllowed": True}, Result.PASSED),
        ({"RemoteAccessAllowed": True, "AuthenticationEnabled": True}, Result.PASSED),
        ({"AuthenticationEnabled": False}, Result.PASSED),
        (
            {
                "RemoteAccessAllowed": True,
                "AuthenticationEnabled": False,
                "HttpServerEnabled": False,
            },
            Result.PASSED,
        ),
    ],
)
def test_who_may_use_orthanc_from_elsewhere(tmp_path, options, result):
    assert lines(tmp_path, **options)["remote access"].result is result


# -- What nobody sends ----------------------------------------------------------------------------


@pytest.fixture
def waiting(tmp_path):
    """A ledger in which two instances wait for the account ``a``, whose Orthanc is there."""
    engine = connect(f"sqlite:///{tmp_path}/orthanc-gcp.sqlite")
    prepare(engine)
    ledger = Ledger(engine)
    ledger.indexes.begin("orthanc", 0, 0.0)
    ledger.arrivals.record([arrival("1"), arrival("2")])
    engine.dispose()
    return tmp_path


def test_rows_that_wait_for_nobody(waiting):
    own = {"account": ACCOUNT}
    site = {"StorageDirectory": str(waiting)}
    assert (
        lines(waiting, {"Accounts": own, "Send": [{"To": "account"}]}, **site)["standstill"].result
        is Result.PASSED
    )
    renamed = lines(waiting, **site)["standstill"]
    assert renamed.result is Result.WARNING
    assert "account account: 2 instances wait: the configuration has no account" in renamed.cause
    no_rule = lines(waiting, {"Accounts": own, "Send": []}, **site)["standstill"]
    assert no_rule.result is Result.WARNING
    assert "has no rule in Send" in no_rule.cause
    assert "put a rule into Send" in no_rule.remedy


def test_rows_that_wait_while_orthanc_runs_and_its_worker_does_not(waiting):
    """Where Orthanc does not run, its worker comes with it; here it has ended."""
    section = {"Accounts": {"account": ACCOUNT}, "Send": [{"To": "account"}]}
    rest = OrthancRest(f"http://127.0.0.1:{free_port()}")
    found = lines(waiting, section, rest, StorageDirectory=str(waiting))["standstill"]
    assert found.result is Result.WARNING
    assert "2 instances wait" in found.cause
    assert "no worker runs" in found.cause
    assert "see Orthanc's log" in found.remedy


def test_a_worker_that_does_not_follow_its_orthanc(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/orthanc-gcp.sqlite")
    prepare(engine)
    registry = worker_registry(engine, "worker", FakeClock())  # it has begun long ago
    registry.reserve()
    registry.join()
    try:
        found = lines(tmp_path, StorageDirectory=str(tmp_path))["standstill"]
    finally:
        registry.leave()
        engine.dispose()
    assert found.result is Result.WARNING
    assert "does not follow" in found.cause


def test_who_is_written_to_and_who_else_may_read_the_password(tmp_path):
    mail = {"Server": "mail.example.org", "From": "a@b.c", "To": ["d@e.f"]}
    assert (
        lines(tmp_path, {"Mail": mail})["e-mail"].cause == "alarms go to d@e.f by mail.example.org"
    )
    wrong = lines(tmp_path, {"Mail": {**mail, "Port": 0}})["e-mail"]
    assert (wrong.result, "Mail.Port" in wrong.cause) == (Result.FAILED, True)
    file = tmp_path / "password"
    with_password = {"Mail": {**mail, "User": "u", "PasswordFile": str(file)}}
    missing = lines(tmp_path, with_password)["e-mail"]
    assert (missing.result, "cannot be read" in missing.cause) == (Result.FAILED, True)
    file.write_text("pw-1")
    file.chmod(0o600)
    assert lines(tmp_path, with_password)["e-mail"].result is Result.PASSED
    file.chmod(0o644)
    exposed = lines(tmp_path, with_password)["e-mail"]
    assert exposed.result is Result.WARNING
    assert "every user of this machine may read it" in exposed.cause
    assert "pw-1" not in exposed.cause + exposed.remedy
