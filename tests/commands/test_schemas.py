"""What commands print for programs is as docs/schemas says, and no schema is without a command."""

from __future__ import annotations

import json

import jsonschema
import pytest

from orthanc_gcp.cli import app
from orthanc_gcp.custody.reporting.losses import acknowledge, losses
from orthanc_gcp.custody.reporting.quarantine import dismiss, list_name
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.selection import Selection
from tests.commands.conftest import site
from tests.support.command_ledger import config, own_ledger
from tests.support.schemas import SCHEMAS, conforms, schema_of
from tests.support.studies import SECOND, Study, conflicting, run
from tests.support.terminal import invoke
from tests.support.transfers import arrive, confirm, settle

__all__ = ["config", "own_ledger", "site"]

ACCOUNT = "my-google"
OF_THE_LEDGER = [
    ["status", 0],
    ["top", 0],
    ["losses", 0, "--acknowledge", "LISTED"],
    ["losses", 1, "--all"],
    ["destinations", 0],
    ["destinations", 0, "--close", "1"],
    ["destinations", 0, "--hand-over", "1"],
    ["indexes", 0],
    ["indexes", 0, "--close", "o"],
    ["quarantine", 1],
    ["quarantine", 1, "--show"],
    ["quarantine", 0, "--dismiss", "why", "--reason", "invalid", "--listed", "INVALID"],
    ["retry", 0],
    ["quarantine", 0, "--retry"],
    ["pause", 0, ACCOUNT],
    ["resume", 0, ACCOUNT],
    ["receipt", 0, "4"],
    ["receipt", 1, "1"],
    ["receipt", 0, "--key"],
    ["receipt", 0, "--verify", "RECEIPT"],
]
"""Command lines that a ledger is enough for, with their exit codes."""
OF_A_SITE = [
    ["check", 1],
    ["query", 0, "google"],
    ["query", 0, "google", "--level", "instance"],
    ["retrieve", 0, "google", "STUDY"],
    ["audit", 1],
    ["send", 0, "--dry-run"],
    ["send", 0, "RESOURCE", "--to", SECOND],
    ["backfill", 0, "--restart"],
    ["indexes", 0, "--protected"],
    ["indexes", 0, "--unprotect", "all"],
]
"""Those that ask an Orthanc, or a store."""
FOR_PEOPLE = {"install", "worker", "gateway", "sidecar", "plugin-script", "demo", "emulator"}
"""Commands that ask questions, run until they are stopped, or print a script."""


@pytest.fixture
def filled(own_ledger):
    former = Ledger(own_ledger.engine, stores={ACCOUNT: StoreName("projects/p/former")})
    arrive(former, 1, study="0", account=ACCOUNT)
    settle(former, State.QUARANTINED, account=ACCOUNT, reason="conflict")
    for study, state, reason in (
        ("1", State.QUARANTINED, "invalid"),
        ("2", State.LOST, "recycled"),
        ("3", State.WITHDRAWN, "deleted"),
    ):
        arrive(own_ledger, 2, study=study, account=ACCOUNT)
        settle(own_ledger, state, account=ACCOUNT, reason=reason, detail="words")
    own_ledger.arrivals.lose(ACCOUNT, "o", 1, 3, 2)
    acknowledge(own_ledger, losses(own_ledger).listed, by="jane")
    arrive(own_ledger, 1, study="6", account=ACCOUNT)
    settle(own_ledger, State.LOST, account=ACCOUNT, reason="recycled", detail="words")
    arrive(own_ledger, 2, study="4", account=ACCOUNT)
    confirm(own_ledger, account=ACCOUNT)
    arrive(own_ledger, 2, study="5", account=ACCOUNT)
    own_ledger.arrivals.lose(ACCOUNT, "o", 5, 16, 12)
    return own_ledger


def documents_of(config, line):
    """What a command line prints, and the schema of that."""
    command, code, *options = line
    if "RECEIPT" in options:
        file = config.with_name("receipt.json")
        file.write_text(invoke("receipt", config, "4", "--json").stdout)
        options = [str(file) if one == "RECEIPT" else one for one in options]
    printed = invoke(command, config, *options, "--json", code=code).stdout
    return schema_of(command, options), conforms([command, *options], printed)


@pytest.mark.parametrize("line", OF_THE_LEDGER, ids=lambda line: "-".join(map(str, line)))
def test_as_the_schema_says_and_nothing_else(filled, config, line):
    invalid = list_name(filled, Selection(reason="invalid"))
    lists = {"LISTED": losses(filled).listed, "INVALID": invalid}
    line = [lists.get(one, one) for one in line]
    name, document = documents_of(config, line)
    assert document, "an empty one proves little"
    refuses_others(name, document)


def refuses_others(name, document):
    (document if isinstance(document, dict) else document[0])["Other"] = 1
    with pytest.raises(jsonschema.ValidationError, match="Other"):
        jsonschema.Draft202012Validator(SCHEMAS[name]).validate(document)


@pytest.fixture(scope="module")
def study(site):
    conflicting(site)
    return Study(site).confirmed()


@pytest.mark.parametrize("line", OF_A_SITE, ids=lambda line: "-".join(map(str, line)))
def test_of_what_asks_an_orthanc_or_a_store(site, study, line):
    command, code, *options = line
    values = {"STUDY": study.uid, "RESOURCE": study.resources[0]}
    options = [values.get(one, one) for one in options]
    if command not in ("query", "check"):
        options += ["--orthanc", site.orthanc.url]
    printed = run(site, command, *options, "--json", code=code)
    refuses_others(schema_of(command, options), json.loads(printed))


def test_every_command_has_a_schema_and_every_schema_a_command():
    lines = [*OF_THE_LEDGER, *OF_A_SITE]
    with_json = {
        name
        for name, command in app.commands.items()
        if any("--json" in one.opts for one in command.params)
    }
    assert with_json == set(app.commands) - FOR_PEOPLE
    assert {command for command, *_ in lines} == with_json
    assert {schema_of(command, options) for command, _, *options in lines} == set(SCHEMAS)


def test_every_schema_is_one():
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_what_was_waited_for(filled, config):
    confirm(filled, account=ACCOUNT)
    dismiss(filled, Selection(), by="jane", why="why")
    document = json.loads(invoke("retry", config, "--wait", "--json").stdout)
    assert document["Instances"] == 0
