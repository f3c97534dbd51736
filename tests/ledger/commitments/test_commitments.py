"""What modalities want stores to be responsible for, as the ledger has it, on both databases."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from orthanc_gcp.ledger.commitments import commitments
from orthanc_gcp.ledger.commitments.commitments import CLAIMED_FOR, KEPT_FOR, Request
from orthanc_gcp.ledger.commitments.rows import SopReference, Transaction
from orthanc_gcp.ledger.schema import CommitmentState
from tests.support.ledgers import A, arrival, before_it_commits

ASKED = Transaction("1.2.3", "MODALITY", "GOOGLE", "192.0.2.1")
REFERENCES = [SopReference("1.1", f"2.{number}") for number in range(3)]


def ask(ledger, transaction=ASKED, references=REFERENCES):
    return ledger.commitments.request(A, transaction, references)


def claimed(ledger, limit=10):
    return ledger.commitments.claim([A], limit)


def waiting(ledger, number):
    return [row for rows in ledger.commitments.waiting(number) for row in rows]


def test_a_request_is_claimed_by_one_and_again_after_it_was_killed(ledger, clock):
    assert ledger.commitments.next_due([A]) is None
    assert ask(ledger, references=[*REFERENCES, REFERENCES[0]]) is Request.TAKEN
    assert ledger.commitments.next_due([A]) == 0
    assert ledger.commitments.claim(["another"], 10) == []
    (one,) = claimed(ledger)
    assert (one.transaction_uid, one.calling_aet, one.state) == ("1.2.3", "MODALITY", "waiting")
    assert claimed(ledger) == []
    clock.now += CLAIMED_FOR - 1
    ledger.commitments.prolong(one.id)
    clock.now += 2
    assert claimed(ledger) == []
    clock.now += CLAIMED_FOR
    assert [row.id for row in claimed(ledger)] == [one.id]
    clock.now -= 30 * 86400  # a clock that was set back makes nobody wait
    assert [row.id for row in claimed(ledger)] == [one.id]


def test_what_is_settled_is_kept(ledger):
    ask(ledger)
    (one,) = claimed(ledger)
    rows = waiting(ledger, one.id)
    assert [SopReference(row.sop_class_uid, row.sop_instance_uid) for row in rows] == REFERENCES
    ledger.commitments.settle({rows[0].id: None, rows[2].id: 0x0112})
    assert [row.id for row in waiting(ledger, one.id)] == [rows[1].id]
    settled = {
        row.sop_instance_uid: row.failure_reason for row in ledger.commitments.settled(one.id)
    }
    assert settled == {"2.0": None, "2.2": 0x0112}
    (shown,) = ledger.commitments.shown()
    assert shown.counts == {"waiting": 1, "committed": 1, "failed": 1}
    ledger.commitments.settle({})

    # What is judged anew, and waited for again.
    ((committed,),) = ledger.commitments.committed(one.id)
    assert committed.sop_instance_uid == "2.0"
    ledger.commitments.decide(one.id)
    ledger.commitments.reopen(one.id, [])
    assert ledger.commitments.shown()[0].row.state == CommitmentState.DECIDED
    ledger.commitments.reopen(one.id, [committed.id])
    (shown,) = ledger.commitments.shown()
    assert (shown.row.state, shown.counts) == ("waiting", {"waiting": 2, "failed": 1})
    assert list(ledger.commitments.committed(one.id)) == []


def test_a_request_that_is_repeated_in_the_same_moment_is_one(postgresql_ledger):
    postgresql_ledger.arrivals.record([arrival("1")])  # its destination is known
    twice = partial(ask, postgresql_ledger)
    assert before_it_commits(postgresql_ledger, twice, twice) == (Request.TAKEN, Request.TAKEN)
    assert len(claimed(postgresql_ledger)) == 1


def test_a_repeated_request_is_one(ledger, clock):
    ask(ledger)
    (one,) = claimed(ledger)
    assert ask(ledger, references=REFERENCES[::-1]) is Request.TAKEN
    assert ask(ledger, references=REFERENCES[:2]) is Request.ANOTHER
    other = Transaction("1.2.3", "OTHER", "GOOGLE", "192.0.2.1")
    assert ask(ledger, other, REFERENCES[:2]) is Request.TAKEN, "of another modality"
    assert ledger.commitments.open_count() == 2
    ledger.commitments.settle({row.id: None for row in waiting(ledger, one.id)})
    ledger.commitments.decide(one.id)
    ledger.commitments.end(one.id, CommitmentState.REPORTED)
    assert ask(ledger, references=REFERENCES[:1]) is Request.ANOTHER
    assert ask(ledger) is Request.TAKEN, "the modality has not got the report"
    again = next(row for row in claimed(ledger) if row.calling_aet == "MODALITY")
    assert again.id != one.id
    assert len(waiting(ledger, again.id)) == 3


def test_bounds(ledger, clock, monkeypatch):
    monkeypatch.setattr(commitments, "MOST_OPEN", 2)
    monkeypatch.setattr(commitments, "MOST_OPEN_REFERENCES", 5)
    of = [Transaction(f"1.{number}", "M", "G", "") for number in range(4)]
    assert ask(ledger, of[0]) is Request.TAKEN
    assert ask(ledger, of[1]) is Request.FULL, "six instances"
    assert ask(ledger, of[1], REFERENCES[:2]) is Request.TAKEN
    assert ask(ledger, of[2], REFERENCES[:1]) is Request.FULL, "three requests"
    first, second = claimed(ledger)
    ledger.commitments.end(first.id, CommitmentState.GIVEN_UP, "no")
    ledger.commitments.end(second.id, CommitmentState.REPORTED)
    assert ask(ledger, of[2]) is Request.TAKEN
    clock.now += KEPT_FOR + 1
    ask(ledger, of[3], REFERENCES[:1])
    assert ledger.commitments.settled(first.id) == waiting(ledger, first.id) == []


def test_postponed(ledger, clock):
    ask(ledger)
    (one,) = claimed(ledger)
    ledger.commitments.postpone(one.id, clock.now + 10, 3, "it is away")
    assert ledger.commitments.next_due([A]) == clock.now + 10
    assert claimed(ledger) == []
    clock.now += 11
    (again,) = claimed(ledger)
    assert (again.attempts, again.detail) == (3, "it is away")


@pytest.mark.parametrize("instances", [[], ["2.0"], [f"2.{number}" for number in range(600)]])
def test_what_is_known_of_instances(ledger, instances):
    row = arrival(1)
    ledger.arrivals.record([row])
    found = ledger.commitments.known(A, [*instances, row.sop_instance_uid])
    assert [one.sop_instance_uid for one in found] == [row.sop_instance_uid]
    assert (found[0].state, found[0].attachment_uuid) == ("waiting", row.attachment_uuid)


def test_versions_are_known_in_the_order_in_which_they_were_received(ledger):
    rows = [replace(arrival(1), orthanc_id=f"o{at}", received_at=float(at)) for at in (7, 9, 8)]
    for row in rows:
        ledger.arrivals.record([replace(row, attachment_uuid=row.orthanc_id)])
    found = ledger.commitments.known(A, [rows[0].sop_instance_uid])
    assert [one.attachment_uuid for one in found] == ["o7", "o8", "o9"]
