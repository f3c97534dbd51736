"""What commands print for programs is as docs/schemas says, and no schema is without a command."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from tests.support.command_ledger import config, own_ledger
from tests.support.terminal import invoke
from tests.support.transfers import arrive, confirm, settle

__all__ = ["config", "own_ledger"]

ROOT = Path(__file__).parents[2]
SCHEMAS = {file.stem: json.loads(file.read_text()) for file in (ROOT / "docs/schemas").iterdir()}
PRINTED = {
    "status": ["status", 0],
    "losses": ["losses", 1],
    "destinations": ["destinations", 0],
    "quarantine": ["quarantine", 1],
    "quarantine-show": ["quarantine", 1, "--show"],
    "quarantine-dismiss": ["quarantine", 0, "--dismiss", "why", "--reason", "invalid"],
    "queued": ["retry", 0],
}
ACCOUNT = "my-google"


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
    arrive(own_ledger, 2, study="4", account=ACCOUNT)
    confirm(own_ledger, account=ACCOUNT)
    arrive(own_ledger, 2, study="5", account=ACCOUNT)
    own_ledger.arrivals.lose(ACCOUNT, "o", 5, 16, 12)
    return own_ledger


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_as_the_schema_says(filled, config, name):
    command, code, *options = PRINTED[name]
    document = json.loads(invoke(command, config, *options, "--json", code=code).stdout)
    assert document, "an empty one proves little"
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(document)


def test_every_schema_is_one_and_has_a_command():
    assert set(SCHEMAS) == set(PRINTED)
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_a_schema_allows_nothing_else(filled, config, name):
    command, code, *options = PRINTED[name]
    document = json.loads(invoke(command, config, *options, "--json", code=code).stdout)
    (document if isinstance(document, dict) else document[0])["Other"] = 1
    with pytest.raises(jsonschema.ValidationError, match="Other"):
        jsonschema.Draft202012Validator(SCHEMAS[name]).validate(document)


def test_what_was_waited_for(filled, config):
    confirm(filled, account=ACCOUNT)
    invoke("quarantine", config, "--dismiss", "why", "--all")
    document = json.loads(invoke("retry", config, "--wait", "--json").stdout)
    jsonschema.Draft202012Validator(SCHEMAS["queued"]).validate(document)
    assert document["Instances"] == 0
