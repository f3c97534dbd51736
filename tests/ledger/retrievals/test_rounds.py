"""Rounds of several retrievals at once, on both databases."""

from __future__ import annotations

import pytest

from orthanc_gcp.ledger.retrievals.rows import Arrived, Listed, Resource, RetrievalOutcome
from orthanc_gcp.ledger.schema import RetrievedState
from tests.support.ledgers import ORTHANC, A

STUDIES = ("1", "2", "3")


@pytest.fixture
def begun(ledger):
    """Three retrievals, the first two with instances that are listed."""
    wanted = [Resource(study) for study in STUDIES]
    numbers = ledger.retrievals.request(A, ORTHANC, wanted, compare_bytes=False)
    by_id = {row.id: row for row in ledger.retrievals.open(ORTHANC)}
    some = [by_id[number] for number in numbers]
    listed = [(one, Listed(uids(one, each), 10)) for one in some[:2] for each in range(3)]
    ledger.retrieval_rounds.add_listed(listed)
    ledger.retrieval_rounds.add_listed(listed[:1])
    ledger.retrieval_rounds.add_listed([])
    return some


def uids(retrieval, number):
    return retrieval.study_instance_uid, "2", f"3.{number}"


def there(retrieval, *numbers):
    return [
        Arrived(uids(retrieval, one), f"o{retrieval.study_instance_uid}.{one}", f"file{one}", 10)
        for one in numbers
    ]


def settle(ledger, state, rows):
    ledger.retrievals.settle([RetrievalOutcome(row.id, state) for row in rows])


def now(ledger):
    return [row for report in ledger.retrievals.report(A) for row in [report.row]][::-1]


def test_which_have_any(ledger, begun):
    rounds = ledger.retrieval_rounds
    assert list(rounds.having(begun)) == [one.id for one in begun[:2]]
    settle(ledger, RetrievedState.PRESENT, ledger.retrievals.pending(begun[0], (), 9))
    assert rounds.having(begun, RetrievedState.WAITING) == {begun[1].id: begun[1]}
    assert rounds.having(begun, RetrievedState.MISSING) == {}


def test_what_orthanc_has_and_has_no_more(ledger, begun):
    first, second, _ = begun
    rounds = ledger.retrieval_rounds
    elsewhere = Arrived(("9", "2", "3.2"), "o9", "file9", 10)
    found = rounds.recognize(begun, [*there(first, 0, 1), *there(second, 2), elsewhere])
    assert sorted(row.uids for row in found) == [
        *(uids(first, number) for number in (0, 1)),
        uids(second, 2),
    ]
    settle(ledger, RetrievedState.RECEIVED, found)
    names = [name for _, name in rounds.identifiers(begun)]
    assert names == ["o1.0", "o1.1", "o2.2"]
    ((after, _),) = rounds.identifiers(begun, limit=1)
    assert [name for _, name in rounds.identifiers(begun, after, 1)] == ["o1.1"]
    assert rounds.gone(begun) == []
    assert rounds.close(begun[:2]) == {}
    again = now(ledger)
    assert [(row.state, row.rounds) for row in again] == [
        ("running", 1),
        ("running", 1),
        ("waiting", 0),
    ]
    assert rounds.recognize(again, there(first, 0)) == []
    assert [row.uids for row in rounds.gone(again)] == [uids(first, 1), uids(second, 2)]
    (row,) = rounds.gone(again, 1)
    assert row.attachment_uuid is None, "it was not received when it was seen"


def test_the_file_of_what_was_received(ledger, begun):
    rows = ledger.retrievals.pending(begun[0], (), 9)
    settle(ledger, RetrievedState.RECEIVED, rows)
    ledger.retrieval_rounds.recognize(begun, there(begun[0], 0))
    other = Arrived(uids(begun[0], 0), "o1.0", "another", 10)
    ledger.retrieval_rounds.recognize(begun, [other])
    ledger.retrieval_rounds.close(begun)
    found = {row.uids: row for row in ledger.retrieval_rounds.gone(now(ledger))}
    assert found[uids(begun[0], 0)].attachment_uuid == "file0", "the one that came first"


def test_how_they_end(ledger, begun, clock):
    first, second, third = begun
    rows = [row for one in (first, second) for row in ledger.retrievals.pending(one, (), 9)]
    settle(ledger, RetrievedState.RECEIVED, rows)
    settle(ledger, RetrievedState.MISSING, rows[-1:])
    ledger.retrievals.postpone(third, 2, 5.0, "forbidden", "no")
    ledger.retrieval_rounds.add_listed([(third, Listed(uids(third, 0), 1))])
    assert ledger.retrieval_rounds.close(begun) == {first.id: True, second.id: False}
    assert [(row.state, row.ended_at, row.next_attempt_at, row.reason) for row in now(ledger)] == [
        ("complete", clock.now, None, None),
        ("incomplete", clock.now, None, None),
        ("running", None, None, None),
    ]
