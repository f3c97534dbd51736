"""For how long something could be sent."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.transfer.open_time import LONGEST_STEP, MOST_PERIODS, OpenTime

STEP = LONGEST_STEP - 10


@pytest.fixture
def note(ledger):
    """Note the present, after some seconds; since when it was so for 100 seconds."""

    def noted(after: float = 0.0, source: str = "o") -> float | None:
        ledger.now.now += after
        return OpenTime(ledger).note("a", source, 100.0)

    return noted


def test_it_is_counted_as_far_as_it_was_noted(ledger, note):
    began = ledger.now()
    assert [note(), note(STEP), note(20.0), note(30.0)] == [None, None, began, began + 30]


def test_periods_are_added_up(ledger, note):
    began = ledger.now()
    assert [note(), note(STEP)] == [None, None]
    assert note(5000.0) is None
    assert note(STEP) == began + STEP - (100 - STEP)


def test_each_orthanc_has_its_own(note):
    assert [note(), note(STEP), note(STEP, "another"), note(STEP, "another")][2:] == [None, None]


def test_a_clock_that_was_set_back_takes_away_what_is_later(ledger, note):
    began = ledger.now()
    assert [note(), note(STEP), note(STEP)][:2] == [None, None]
    assert note(-90.0) is None
    assert note(STEP) == began + 2 * STEP - 90 + STEP - 100
    assert note(-7200.0) is None


def test_what_is_remembered_is_bounded(ledger, note):
    for _ in range(MOST_PERIODS + 20):
        assert note(1000.0) is None
    (noted,) = ledger.key_values.starting_with("open:").values()
    assert len(noted) == MOST_PERIODS


@pytest.mark.parametrize("damaged", [[1], [[1]], [["a", "b"]], [None], [{}], [[1.0, 2.0, 3.0]]])
def test_what_is_damaged_counts_as_nothing(ledger, note, damaged):
    ledger.key_values.set("open:a:o", damaged)
    began = ledger.now()
    assert [note(), note(STEP), note(20.0)] == [None, None, began]
