"""An instance that Orthanc does not have: deleted only when it stays away from its own index."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.outcomes import ABSENT_FOR
from orthanc_gcp.custody.transfer.absence import of_absent
from orthanc_gcp.errors import OrthancUnavailableError
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.ledger.schema import State

NOW = 1_800_000_000.0


def row(**values) -> Transfer:
    usual = dict.fromkeys(Transfer.__slots__)
    return Transfer(**{**usual, "id": 1, "source": "o", "attempts": 2, "replace": False, **values})


def after(seconds: float | None, same: bool = True, **values):
    since = None if seconds is None else NOW - seconds
    return of_absent(row(absent_since=since, **values), NOW, lambda source: same and source == "o")


def test_the_first_absence_is_remembered():
    found = after(None)
    assert (found.state, found.reason, found.absent_since) == (State.DELAYED, "absent", NOW)
    assert found.next_attempt_at == NOW + ABSENT_FOR
    assert found.attempts == 2


def test_the_second_may_be_too_early():
    found = after(ABSENT_FOR / 2)
    assert (found.state, found.absent_since) == (State.DELAYED, NOW - ABSENT_FOR / 2)


def test_then_it_is_deleted():
    assert after(ABSENT_FOR).state == State.WITHDRAWN
    assert after(ABSENT_FOR, sha256="d" * 64).state == State.QUARANTINED


def test_it_is_lost_where_it_may_have_been_recycled():
    asked = []

    def may_be_recycled(row, since):
        asked.append((row.id, since))
        return True

    def found(seconds, **values):
        known = row(absent_since=NOW - seconds, **values)
        return of_absent(known, NOW, lambda _: True, may_be_recycled)

    assert found(ABSENT_FOR / 2).state == State.DELAYED
    lost = found(ABSENT_FOR)
    assert (lost.state, lost.reason, lost.absent_since) == ("lost", "recycled", NOW - ABSENT_FOR)
    assert asked == [(1, NOW - ABSENT_FOR)]
    assert found(ABSENT_FOR, sha256="d" * 64).state == State.QUARANTINED, "the store had it"


def test_another_index_proves_nothing():
    found = after(10 * ABSENT_FOR, same=False)
    assert (found.state, found.absent_since) == (State.DELAYED, None)


def test_a_clock_that_was_set_back_proves_nothing():
    found = after(-1000)
    assert (found.state, found.absent_since) == (State.DELAYED, NOW)


def test_an_orthanc_that_cannot_be_asked():
    def fails(_source: str) -> bool:
        raise OrthancUnavailableError("away")

    with pytest.raises(OrthancUnavailableError):
        of_absent(row(), NOW, fails)
