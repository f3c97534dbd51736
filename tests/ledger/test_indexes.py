"""The indexes that are followed, and the changes by which they are recognized."""

from __future__ import annotations

from dataclasses import replace

from orthanc_gcp.ledger.indexes import MOST_MARKS, add_marks
from orthanc_gcp.ledger.rows import Cursor, Mark, Missing
from orthanc_gcp.ledger.schema import change_cursors
from tests.support.ledgers import ORTHANC, arrival


def mark(seq: int, name: str = "") -> Mark:
    return Mark(seq, "NewInstance", name or f"i{seq}", "20260101T000000")


def test_an_index_is_written_down_with_all_that_is_known_of_it(ledger, clock):
    assert ledger.indexes.get(ORTHANC) is None
    begun = ledger.indexes.begin(ORTHANC, 7, 5.0, [mark(9)], address="here")
    assert begun == Cursor(ORTHANC, 7, 5.0, ORTHANC, (mark(9),), (), clock.now, 5.0, "here")
    cursor = replace(begun, seq=12, marks=(mark(12), mark(9)), missing=(Missing(10, 11, 6.5),))
    clock.now += 1
    ledger.arrivals.record([], cursor)
    assert ledger.indexes.all() == [replace(cursor, seen_at=clock.now)]
    clock.now += 1
    moved = ledger.indexes.seen(cursor, "renamed", "there")
    assert moved == replace(cursor, name="renamed", seen_at=clock.now, address="there")
    assert ledger.indexes.get(ORTHANC) == ledger.indexes.seen(moved, "renamed") == moved


def test_to_where_changes_were_cleared_is_known_of_each_index(ledger):
    assert ledger.indexes.cleared_to(ORTHANC) == 0
    for seq in (7, 9):
        ledger.indexes.note_cleared(ORTHANC, seq)
    ledger.indexes.note_cleared("other", 5)
    assert ledger.indexes.cleared_to(ORTHANC) == 9


def test_two_of_one_name_are_called_differently(ledger):
    first = ledger.indexes.begin(ORTHANC, 0, 5.0)
    assert ledger.indexes.begin(ORTHANC, 0, 5.0) is None, "it may be the same one"
    second = ledger.indexes.begin(ORTHANC, 0, 5.0, (), [first])
    assert first.source == ORTHANC
    assert second.source.startswith(f"{ORTHANC}#")
    assert second.name == ORTHANC


def test_only_the_first_of_several_that_may_be_one_is_marked(ledger):
    """What nothing was compared with meanwhile may be the same."""
    first = ledger.indexes.begin("first", 0, 5.0)
    second = ledger.indexes.begin("second", 0, 5.0, (), [first])
    known = ledger.indexes.all()
    marked = replace(first, marks=(mark(1),))
    assert ledger.indexes.mark(marked, known)
    assert not ledger.indexes.mark(replace(second, marks=(mark(1),)), known)
    assert ledger.indexes.begin("third", 0, 5.0, (), known) is None
    assert ledger.indexes.get("second").marks == ()
    assert ledger.indexes.mark(replace(second, marks=(mark(2),)), ledger.indexes.all())
    assert not ledger.indexes.mark(replace(second, source="gone"), ledger.indexes.all())


def test_only_an_index_of_which_nothing_was_read_is_forgotten(ledger):
    for name, marks in (("unread", ()), ("read", [mark(1)]), (ORTHANC, ())):
        ledger.indexes.begin(name, 0, 5.0, marks, ledger.indexes.all())
    ledger.arrivals.record([arrival("1")])
    forgotten = [ledger.indexes.forget_unread(one) for one in ("unread", "read", ORTHANC, "none")]
    assert forgotten == [True, False, False, False]
    assert {one.source for one in ledger.indexes.all()} == {"read", ORTHANC}


def test_the_rows_of_an_index_that_is_forgotten_are_not_another_s(ledger):
    ledger.arrivals.record([arrival("1")])
    assert ledger.indexes.has_rows(ORTHANC)
    assert ledger.indexes.begin(ORTHANC, 0, 5.0).source != ORTHANC


def test_samples_are_the_files_of_the_first_and_the_last(ledger):
    ledger.arrivals.record([arrival(str(n), attachment_uuid=f"u{n}") for n in range(100)])
    ledger.arrivals.record([arrival("none")])
    found = ledger.indexes.samples(ORTHANC)
    assert found["0"] == ("u0", 5000.0, 1)
    assert found["99"] == ("u99", 5000.0, 1)
    assert len(found) == 40


def test_samples_between_reach_far_back_and_are_few(ledger):
    assert ledger.indexes.samples_between(ORTHANC) == {}
    ledger.arrivals.record([arrival(str(n), attachment_uuid=f"u{n}") for n in range(100)])
    assert set(ledger.indexes.samples_between(ORTHANC)) == {
        "98",
        "97",
        "95",
        "91",
        "83",
        "67",
        "35",
    }


def test_the_times_of_which_an_index_may_have_nothing_any_more(ledger):
    for since, until in ((5.0, 8.0), (20.0, 30.0), (7.0, 10.0)):
        ledger.indexes.undo(ORTHANC, since, until)
    undone = [moment for moment in range(35) if ledger.indexes.was_undone(ORTHANC, moment)]
    assert undone == [*range(5, 11), *range(20, 31)]
    assert len(ledger.key_values.get(f"undone:{ORTHANC}", list)) == 2
    assert not ledger.indexes.was_undone("another", 6.0)
    ledger.key_values.set(f"undone:{ORTHANC}", [["x", 1], 2])
    assert not ledger.indexes.was_undone(ORTHANC, 6.0)


def test_damaged_marks_are_none(ledger):
    ledger.indexes.begin(ORTHANC, 0, 5.0, [mark(1)])
    for value in ("x", [1], [[1, 2, 3, 4]], {"a": 1}, [["1", "k", "i", "d"]]):
        with ledger.writing() as connection:
            connection.execute(change_cursors.update().values(marks=value, missing=value))
        cursor = ledger.indexes.get(ORTHANC)
        assert (cursor.marks, cursor.missing) == ((), ())


def test_marks_are_of_different_resources():
    read = [mark(1, "a"), mark(2, "b"), mark(3, "b"), mark(4, "b")]
    assert add_marks((), read) == (mark(4, "b"), mark(1, "a"))


def test_marks_reach_far_back_and_are_few():
    marks: tuple[Mark, ...] = ()
    for page in range(1000):
        marks = add_marks(marks, [mark(10 * page + n) for n in range(1, 11)])
    numbers = [one.seq for one in marks]
    assert len(numbers) == MOST_MARKS
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] == 10_000
    assert numbers[-1] <= 10
    assert any(1000 < number < 9000 for number in numbers)
