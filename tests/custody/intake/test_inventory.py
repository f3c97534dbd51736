"""All that an Orthanc has, page by page, against the ledger."""

from __future__ import annotations

import itertools

import pytest

from orthanc_gcp.custody.intake.inventory import (
    COMPARE_AT_MOST_EVERY,
    SAID_AFTER,
    Comparison,
    Failing,
    Inventory,
    failing_comparisons,
)
from orthanc_gcp.custody.reporting.problems import find_problems
from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.ledger.schema import Priority
from tests.support.ledgers import ORTHANC, arrival
from tests.support.simulation import FakeClock


class Listed:
    """An Orthanc, as far as it is listed."""

    def __init__(self, count: int) -> None:
        self.files = {str(number): f"u{number}" for number in range(count)}
        self.change = 0
        self.read = 0

    def inventory(self):
        rest = iter(self.files.items())
        while page := list(itertools.islice(rest, 10)):
            self.read += 1
            yield page

    def last_change(self) -> int:
        return self.change


def record(ledger, names, **more):
    ledger.arrivals.record([arrival(one, attachment_uuid=f"u{one}", **more) for one in names])


def all_of(inventory, read_to=0):
    found = []
    while (some := inventory.step(read_to)) is not None:
        found += some
    return found


def test_what_is_not_there_or_another_version_is_named(ledger):
    orthanc = Listed(25)
    inventory = Inventory(ledger, orthanc)
    record(ledger, ["3", "7", "12"])
    record(ledger, ["7"], account="b")
    orthanc.files["12"] = "another"
    orthanc.files["3"] = ""  # Orthanc does not say it
    inventory.begin(ORTHANC)
    assert sorted(all_of(inventory)) == sorted({*orthanc.files} - {"3", "7"})


def test_what_somebody_has_demanded_says_nothing_of_what_the_rules_want(ledger):
    """But where its change was read, too, or a comparison, or a backfill, has found it."""
    record(ledger, "012", account="b", priority=Priority.DEMANDED, change_seq=0)
    record(ledger, "1", change_seq=0)
    record(ledger, "2", account="b", change_seq=7)
    record(ledger, "3", account="b", priority=Priority.BACKFILL, change_seq=0)
    inventory = Inventory(ledger, Listed(4))
    inventory.begin(ORTHANC)
    assert all_of(inventory) == ["0"]


def test_only_one_page_is_read_at_a_time(ledger):
    orthanc = Listed(25)
    inventory = Inventory(ledger, orthanc)
    inventory.begin(ORTHANC)
    assert len(inventory.step(0)) == 10
    assert orthanc.read == 1


def test_what_is_new_is_waited_for(ledger):
    orthanc = Listed(5)
    orthanc.change = 8
    inventory = Inventory(ledger, orthanc)
    inventory.begin(ORTHANC)
    assert inventory.step(7) == []
    record(ledger, orthanc.files)  # with the change before 8, it is read
    assert inventory.step(8) == []
    assert inventory.step(8) is None


def test_a_comparison_that_broke_off_begins_anew(ledger):
    orthanc = Listed(15)
    inventory = Inventory(ledger, orthanc)
    inventory.begin(ORTHANC)
    inventory.step(0)
    inventory.begin(ORTHANC)
    assert len(all_of(inventory)) == 15


def test_comparisons_that_never_end_are_a_problem(ledger, clock):
    """Changes are read all the while, so that nothing else fails."""
    orthanc, own = Listed(5), FakeClock()
    comparison = Comparison(ledger, orthanc, own, 86400, lambda _cursor, _found: 0, lambda: None)
    cursor = ledger.indexes.begin(ORTHANC, 0, ledger.now())
    list_all = orthanc.inventory

    def refuse():
        raise OrthancRefusedError("GET /instances was answered 403")
        yield

    def compare():
        while comparison.step(cursor):
            own.time += 1

    comparison.turn_to(ORTHANC)
    orthanc.inventory = refuse
    began = ledger.now()
    for _ in range(int(SAID_AFTER / COMPARE_AT_MOST_EVERY)):
        with pytest.raises(OrthancRefusedError):
            compare()
        assert find_problems(ledger, [], {}) == []
        own.time += COMPARE_AT_MOST_EVERY
        clock.now += COMPARE_AT_MOST_EVERY
    ledger.indexes.seen(cursor, ORTHANC)
    with pytest.raises(OrthancRefusedError):
        compare()
    assert failing_comparisons(ledger) == {
        ORTHANC: Failing(began, "GET /instances was answered 403")
    }
    (problem,) = find_problems(ledger, [], {})
    assert (problem.kind, problem.index, problem.since) == ("worker", ORTHANC, began)
    assert problem.message.endswith("is not found, and not sent: GET /instances was answered 403")
    orthanc.inventory = list_all
    own.time += COMPARE_AT_MOST_EVERY
    compare()
    assert find_problems(ledger, [], {}) == []


@pytest.fixture
def comparison(ledger):
    """One of an Orthanc whose instances the ledger has all, and the names of what it adds."""
    orthanc, added = Listed(25), []
    record(ledger, orthanc.files)

    def add(_cursor, names):
        added.extend(names)
        return len(names)

    return Comparison(ledger, orthanc, FakeClock(), 86400, add, lambda: None), orthanc, added


@pytest.mark.parametrize("gap", [False, True])
def test_a_gap_of_another_worker_is_not_closed_by_what_was_compared_before_it(
    ledger, comparison, gap
):
    """Changes of what was overwritten were cleared while that one followed the index."""
    comparison, orthanc, added = comparison
    cursor = ledger.indexes.begin(ORTHANC, 0, ledger.now())
    comparison.turn_to(ORTHANC)
    if gap:
        comparison.open_gap()
    assert comparison.step(cursor)
    orthanc.files["1"] = "another"
    ledger.arrivals.open_gap(ORTHANC)
    comparison.turn_to(ORTHANC, was_read_on=True)
    for _ in range(2):
        while comparison.step(cursor):
            pass
        comparison._clock.time += COMPARE_AT_MOST_EVERY + 1
    assert added == ["1"]
    assert not ledger.arrivals.has_gap(ORTHANC)


@pytest.mark.parametrize("others", [0, 3])
def test_it_says_that_files_were_stored_anew(ledger, comparison, caplog, others):
    comparison, orthanc, added = comparison
    cursor = ledger.indexes.begin(ORTHANC, 0, ledger.now())
    comparison.turn_to(ORTHANC)
    orthanc.files |= {str(number): "another" for number in range(others)} | {"new": "u"}
    while comparison.step(cursor):
        comparison._clock.time += 1
    assert added == [*map(str, range(others)), "new"]
    assert f"{others + 1} transfers were missing in the ledger, or of another file" in caplog.text
    assert ("of 3 instances Orthanc has another file" in caplog.text) == bool(others)
