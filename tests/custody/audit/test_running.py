"""Which audits run is in the ledger, and nothing is left of those that were killed."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.audit.running import (
    EVERY,
    SILENT_AFTER,
    AuditProgress,
    RunningAudit,
    running_audits,
)
from orthanc_gcp.ledger.schema import metadata
from tests.support.ledgers import BEGIN


def kept(ledger):
    return list(ledger.key_values.starting_with("audit-running:"))


def test_how_far_it_is_until_it_ends(ledger, clock):
    audit = RunningAudit(ledger, "here")
    audit.note(1, 9)
    audit.note(2, 9)
    assert running_audits(ledger) == [AuditProgress("here", BEGIN, 1, 9, BEGIN)]
    clock.now += EVERY
    audit.note(3, 9)
    (found,) = running_audits(ledger)
    assert (found.done, found.noted_at) == (3, BEGIN + EVERY)
    audit.end()
    assert kept(ledger) == []


def test_one_that_was_killed_is_forgotten(ledger, clock):
    RunningAudit(ledger, "killed").note(1, 9)
    clock.now += SILENT_AFTER
    other, third = RunningAudit(ledger, "b"), RunningAudit(ledger, "c")
    other.note(1, 2)
    third.note(1, 2)
    assert [one.where for one in running_audits(ledger)] == ["b", "c"]
    other.end()
    assert [one.where for one in running_audits(ledger)] == ["c"]
    assert len(kept(ledger)) == 1


@pytest.mark.parametrize("value", [[], {}, {"where": 5}, {"where": "x", "began_at": "y"}])
def test_what_is_none_counts_for_none(ledger, value):
    ledger.key_values.set("audit-running:x", value)
    assert running_audits(ledger) == []
    RunningAudit(ledger, "here").end()
    assert kept(ledger) == []


def test_a_ledger_that_is_away_does_not_end_it(ledger):
    audit = RunningAudit(ledger, "here")
    metadata.drop_all(ledger.engine)
    audit.note(1, 2)
    audit.end()
