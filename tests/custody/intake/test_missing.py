"""Numbers that are missing among changes: asked for again, and said when they are old."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake.missing import (
    MISSING_ALONE_FOR,
    MISSING_FOR,
    MissingChanges,
    missing_between,
)
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.ledger.rows import Cursor, Missing
from orthanc_gcp.orthanc.resources import Change, Changes
from tests.support.ledgers import ORTHANC
from tests.support.transfers import events_of


class Changing:
    """An Orthanc, as far as its changes are read."""

    def __init__(self, *numbers: int) -> None:
        self.numbers, self.is_shared = set(numbers), False

    def changes(self, since: int, limit: int = 100) -> Changes:
        after = changes_of(*sorted(one for one in self.numbers if one > since))[:limit]
        return Changes(tuple(after), after[-1].seq if after else since, done=True)

    def may_share_its_index(self) -> bool:
        return self.is_shared


def changes_of(*numbers: int) -> list[Change]:
    return [Change(one, "NewInstance", f"of {one}", "20260101T000000") for one in numbers]


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ((), [(4, 9)]),
        ((4, 5, 6, 7, 8, 9), []),
        ((5, 6), [(4, 4), (7, 9)]),
        ((4, 9), [(5, 8)]),
    ],
)
def test_what_is_missing_after_3_up_to_9(numbers, missing):
    found = missing_between(changes_of(*numbers), 3, 9, 5.0)
    assert list(found) == [Missing(first, last, 5.0) for first, last in missing]


def missing_of(ledger, orthanc):
    return MissingChanges(ledger, orthanc, Rules([SendRule(to="a")], lambda *_: {}), None)


@pytest.fixture
def cursor(ledger):
    return Cursor(ORTHANC, 9, 0.0, ORTHANC, missing=(Missing(4, 6, ledger.now()),))


def test_what_is_late_is_found(ledger, cursor):
    orthanc = Changing(3, 7, 8, 9)
    changes = missing_of(ledger, orthanc)
    assert changes.ask_again(cursor) is None
    orthanc.numbers.add(5)
    late = changes.ask_again(cursor)
    assert late.entries == changes_of(5)
    assert [(gap.first, gap.last) for gap in late.missing] == [(4, 4), (6, 6)]
    assert events_of(ledger, "changes missing") == []


@pytest.mark.parametrize(
    ("is_shared", "asked_for"), [(False, MISSING_ALONE_FOR), (True, MISSING_FOR)]
)
def test_what_is_old_is_said_and_asked_for_no_more(ledger, clock, cursor, is_shared, asked_for):
    orthanc = Changing(3, 7, 8, 9)
    orthanc.is_shared = is_shared
    changes = missing_of(ledger, orthanc)
    clock.now += asked_for - 1
    assert changes.ask_again(cursor) is None
    clock.now += 2
    late = changes.ask_again(cursor)
    assert (late.entries, late.missing) == ([], ())
    (event,) = events_of(ledger, "changes missing")
    assert event.detail.startswith(f"3 changes of Orthanc {ORTHANC} were never there to be read")
