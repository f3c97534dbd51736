"""Studies whose priors are to be looked for, on both databases."""

from __future__ import annotations

import pytest

from orthanc_gcp.ledger.schema import PrefetchState
from tests.support.ledgers import ORTHANC, A

B = "another"


def due(ledger, *accounts, limit=10):
    found = ledger.prefetches.due(ORTHANC, accounts or (A,), limit)
    return [(one.orthanc_id, one.account) for one in found]


def test_each_study_once_for_each_account(ledger):
    ledger.prefetches.add(ORTHANC, ["s", "t", "s"], [A, B])
    ledger.prefetches.add(ORTHANC, ["s"], [A])
    ledger.prefetches.add(ORTHANC, [], [A])
    ledger.prefetches.add("elsewhere", ["u"], [A])
    assert due(ledger, A, B) == [("s", A), ("s", B), ("t", A), ("t", B)]
    assert due(ledger, limit=1) == [("s", A)]


def test_one_that_has_ended_never_comes_again(ledger, clock):
    ledger.prefetches.add(ORTHANC, ["s"], [A])
    (row,) = ledger.prefetches.due(ORTHANC, [A], 1)
    clock.now += 5
    ledger.prefetches.end(row, PrefetchState.REQUESTED, studies=2)
    ledger.prefetches.add(ORTHANC, ["s"], [A])
    assert due(ledger) == []
    (found,) = ledger.prefetches.found("s")
    assert (found.state, found.studies, found.ended_at) == ("requested", 2, clock.now)


@pytest.mark.parametrize("back", [0, 10_000])
def test_one_that_waits(ledger, clock, back):
    ledger.prefetches.add(ORTHANC, ["s"], [A])
    (row,) = ledger.prefetches.due(ORTHANC, [A], 1)
    ledger.prefetches.postpone(row, 3, 60.0, "unavailable", "it is away")
    assert due(ledger) == []
    clock.now += 61 if not back else -back
    assert due(ledger) == [("s", A)], "also after the clock was set back"
    (row,) = ledger.prefetches.due(ORTHANC, [A], 1)
    assert (row.attempts, row.reason) == (3, "unavailable")


def test_one_that_somebody_asks_for_comes_again(ledger, clock):
    ledger.prefetches.add(ORTHANC, ["s"], [A])
    (row,) = ledger.prefetches.due(ORTHANC, [A], 1)
    ledger.prefetches.end(row, PrefetchState.SKIPPED, reason="no_rule", detail="none")
    clock.now += 5
    assert not ledger.prefetches.any_demanded()
    ledger.prefetches.demand(ORTHANC, ["s", "t", "t"], A)
    assert ledger.prefetches.any_demanded()
    ledger.prefetches.demand(ORTHANC, [], A)
    assert due(ledger) == [("s", A), ("t", A)]
    found = ledger.prefetches.due(ORTHANC, [A], 2)
    assert {one.demanded_at for one in found} == {clock.now}
    assert {(one.reason, one.detail, one.ended_at, one.attempts) for one in found} == {
        (None, None, None, 0)
    }
    ledger.prefetches.end(row, PrefetchState.REQUESTED)
    assert due(ledger) == [("s", A), ("t", A)], "what was looked for before is another"


def test_one_that_is_searched_for_comes_again_after_a_while(ledger, clock):
    ledger.prefetches.search_for(ORTHANC, "1.2", A, 60.0)
    ledger.prefetches.search_for(ORTHANC, "1.2", A, 60.0)
    (row,) = ledger.prefetches.due(ORTHANC, [A], 9)
    assert row.is_of_search
    ledger.prefetches.end(row, PrefetchState.REQUESTED, studies=2)
    clock.now += 59
    ledger.prefetches.search_for(ORTHANC, "1.2", A, 60.0)
    assert due(ledger) == []
    clock.now += 2
    ledger.prefetches.search_for(ORTHANC, "1.2", A, 60.0)
    (row,) = ledger.prefetches.due(ORTHANC, [A], 9)
    assert (row.state, row.studies, row.noticed_at) == ("waiting", None, clock.now)
