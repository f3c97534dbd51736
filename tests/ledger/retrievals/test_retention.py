"""What has ended well goes after a month, some at a time; nothing else does."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger.retrievals import retention
from orthanc_gcp.ledger.retrievals.retention import KEPT_FOR
from orthanc_gcp.ledger.retrievals.rows import (
    Coming,
    Digests,
    Listed,
    Notified,
    Resource,
    RetrievalOutcome,
)
from orthanc_gcp.ledger.schema import PrefetchState, RetrievedState, retrieved_instances
from tests.support.ledgers import ORTHANC, A

ENDS = {
    "complete": (RetrievedState.RECEIVED, None),
    "missing": (RetrievedState.MISSING, None),
    "different": (RetrievedState.DIFFERENT, None),
    "given_up": (RetrievedState.RECEIVED, "full"),
    "open": (RetrievedState.WAITING, None),
}


def begin(ledger, study, instances=2):
    """A retrieval whose instances have come."""
    (number,) = ledger.retrievals.request(A, ORTHANC, [Resource(study)], compare_bytes=False)
    (row,) = [one for one in ledger.retrievals.open(ORTHANC) if one.id == number]
    some = [(row, Listed((study, "2", f"{study}.{one}"), 10)) for one in range(instances)]
    ledger.retrieval_rounds.add_listed(some)
    rows = ledger.retrievals.pending(row, (), instances)
    ledger.retrievals.note_digests([Coming(one.id, 1, Digests(1, "md5", "sha")) for one in rows])
    return row, rows


def end(ledger, study, how="complete", instances=2):
    row, rows = begin(ledger, study, instances)
    state, reason = ENDS[how]
    ledger.retrievals.settle([RetrievalOutcome(one.id, state) for one in rows])
    if how != "open":
        ledger.retrievals.end(row, reason)
    return row


def studies(ledger):
    return [one.row.study_instance_uid for one in ledger.retrievals.report(A, limit=1000)][::-1]


def instances(ledger):
    with ledger.reading() as connection:
        return connection.scalar(sql.select(sql.func.count()).select_from(retrieved_instances))


def test_what_is_complete_goes_a_month_after_its_end(ledger, clock):
    for number, how in enumerate(ENDS):
        end(ledger, f"1.{number}", how)
    clock.now += KEPT_FOR - 1
    end(ledger, "2")
    assert len(studies(ledger)) == 6
    clock.now += 2
    end(ledger, "3")
    assert studies(ledger) == ["1.1", "1.2", "1.3", "1.4", "2", "3"]
    assert instances(ledger) == 12
    clock.now += KEPT_FOR + 1
    ledger.retrievals.notified(A, ORTHANC, [Notified("m", ("9", "9", "9"))])
    assert studies(ledger) == ["1.1", "1.2", "1.3", "1.4", "3", "9"], "all but the newest then"


def test_what_came_of_it_is_known_for_as_long(ledger, clock):
    end(ledger, "1")
    clock.now += KEPT_FOR
    end(ledger, "2")
    assert ledger.retrievals.origins(A, ["1.0"])
    clock.now += 1
    end(ledger, "3")
    assert not ledger.retrievals.origins(A, ["1.0"])


def test_some_at_a_time(ledger, clock, monkeypatch):
    monkeypatch.setattr(retention, "MOST_INSTANCES", 3)
    end(ledger, "1", instances=5)
    for number in range(14):
        end(ledger, f"2.{number}", instances=1)
    clock.now += KEPT_FOR + 1
    left = []
    for number in range(8):
        begin(ledger, f"3.{number}", 0)
        left.append(len(studies(ledger)) - number - 1)
    assert left[0] > 11
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert instances(ledger) == 0


@pytest.mark.parametrize("state", [PrefetchState.REQUESTED, PrefetchState.SKIPPED])
def test_prefetches(ledger, clock, state):
    ledger.prefetches.add(ORTHANC, ["s", "open"], [A])
    (row,) = ledger.prefetches.found("s")
    ledger.prefetches.end(row, state)
    clock.now += KEPT_FOR - 1
    ledger.prefetches.add(ORTHANC, ["t"], [A])
    assert ledger.prefetches.found("s")
    clock.now += 2
    ledger.prefetches.demand(ORTHANC, ["t"], A)
    assert not ledger.prefetches.found("s")
    assert [len(ledger.prefetches.found(one)) for one in ("open", "t")] == [1, 1]
