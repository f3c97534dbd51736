"""The ledger that a configuration names: found, or said why not."""

from __future__ import annotations

import json

import pytest

from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site
from tests.support.studies import SECOND, Study, delete, run, run_json

COMMANDS = [
    ("status",),
    ("receipt", "1.2.3"),
    ("audit",),
    ("send", "0-1", "--to", "google"),
    ("retry",),
    ("pause", "google"),
    ("resume", "google"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_ledger(site, tmp_path, command):
    name, *arguments = command
    whole = {
        **json.loads(site.orthanc.configuration_file.read_text()),
        "StorageDirectory": str(tmp_path),
    }
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(whole))
    said = run(site, name, *arguments, code=2, config=file)
    assert f"there is no ledger at {tmp_path}" in said
    assert list(tmp_path.iterdir()) == [file], "nothing was made"

    secret = "postgresql://me:hush@127.0.0.1:1/custody"
    whole["GoogleCloudPlatform"]["Database"] = secret
    file.write_text(json.dumps(whole))
    said = run(site, name, *arguments, code=2, config=file)
    assert "the ledger cannot be reached at postgresql://127.0.0.1:1/custody" in said
    assert "hush" not in said

    whole["GoogleCloudPlatform"]["Database"] = "postgresql://me:hush/x@127.0.0.1:1/custody"
    file.write_text(json.dumps(whole))
    said = run(site, name, *arguments, code=2, config=file)
    assert "GoogleCloudPlatform.Database: found a string, expected" in said
    assert "nothing is sent" in said
    assert "hush" not in said

    file.write_text("{")
    assert "not JSON" in run(site, name, *arguments, code=2, config=file)


@pytest.mark.parametrize(
    "command",
    [
        ("audit", "--account", "nobody"),
        ("send", "0-1", "--to", "nobody"),
        ("retry", "--account", "nobody"),
        ("pause", "nobody"),
        ("resume", "nobody"),
    ],
    ids=lambda command: command[0],
)
def test_an_account_that_is_not_there(site, command):
    said = run(site, *command, code=2)
    assert "there is no account nobody: expected one of google, second" in said


def test_the_ledger_is_read_while_the_worker_is_down(site):
    study = Study(site).confirmed()
    assert site.stop_worker() == 0
    try:
        assert run_json(site, "status")["Worker"] is False
        assert "no worker runs" in run(site, "status")
        assert "wholly confirmed" in run(site, "receipt", study.uid)
        run(site, "audit", "--study", study.uid)
        said = run(
            *(site, "send", study.resources[0]), "--to", SECOND, "--orthanc", site.orthanc.url
        )
        assert "queued for second: 1 instance, they are sent as soon as a worker runs" in said
    finally:
        site.start_worker()
    study.wait_for(*["confirmed"] * 5)


def test_on_postgresql(tmp_path):
    server = Postgres()
    try:
        with Site(tmp_path, section={"Database": server.url}) as site:
            site.wait_for_following()
            study = Study(site).confirmed()
            assert run_json(site, "status")["Worker"] is True
            assert "wholly confirmed" in run(site, "receipt", study.uid)
            missing = next(iter(study.files))
            delete(site, study, missing)
            told = run_json(site, "audit", "--fix", "--bytes", code=1)
            assert [one["Instance"] for one in told["Studies"][0]["Missing"]] == [missing]
            study.confirmed()
            assert run(site, "retry") == "queued again: 0 instances\n"
            site.stop_worker()
            wait_until(lambda: run_json(site, "status")["Worker"] is False)
    finally:
        server.remove()
