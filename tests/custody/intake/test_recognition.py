"""Which index an Orthanc has, and whether it is for this worker to go on with it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orthanc_gcp.custody.intake.identity import Match, compare, mark_of
from orthanc_gcp.custody.intake.recognition import (
    PROVEN_FOR,
    RECOGNIZE_EVERY,
    REFUSE_AFTER,
    Accepted,
    Pending,
    Recognition,
)
from orthanc_gcp.custody.intake.rules import arrival_of
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.indexes import add_marks
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc_life import file_of
from tests.support.simulated_orthanc import Index, SimulatedOrthanc
from tests.support.simulation import FakeClock


class Looking:
    """An Orthanc in which something was received, and who asks which index it has."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.clock = ledger, FakeClock()
        self.index = Index(self.clock, random.Random(1))
        self.index.receive(file_of(0, 0, 0, 0, 0))
        self.orthanc = SimulatedOrthanc(self.index)
        self.source = OrthancSource(OrthancRest(self.orthanc.url), self.orthanc.storage)
        self.follows = True
        self.recognition = self.another()

    def settle(self) -> str:
        """Go on with what Orthanc has."""
        found = self.recognition.find()
        assert isinstance(found, Accepted)
        self.recognition.settle(found)
        return self.recognition.source

    def another(self) -> Recognition:
        def follows(_source: str) -> bool:
            return self.follows

        clock, since = self.clock, self.clock.utc().timestamp()
        return Recognition(
            self.ledger, self.source, clock, since, follows, was_down=False, address=""
        )


@pytest.fixture
def looking(sqlite_ledger: Ledger) -> Iterator[Looking]:
    made = Looking(sqlite_ledger)
    yield made
    made.orthanc.close()


def test_an_index_is_begun_and_found_again(looking):
    recognition = looking.recognition
    begun = recognition.find()
    assert (begun.match, begun.follows) == (Match.WHOLE, True)
    assert (recognition.candidate, recognition.source) == (begun.cursor.source, "")
    recognition.settle(begun)
    assert recognition.source == begun.cursor.source
    again = looking.another().find()
    assert isinstance(again, Accepted)
    assert again.cursor.source == begun.cursor.source


def test_it_counts_for_some_seconds_and_is_due_then(looking):
    recognition = looking.recognition
    assert recognition.is_due(follows=True), "it was never seen"
    source = looking.settle()
    assert recognition.is_index(source)
    looking.clock.time += RECOGNIZE_EVERY
    assert not recognition.is_due(follows=True), "each page shows it"
    assert recognition.is_due(follows=False)
    looking.clock.time += PROVEN_FOR
    assert not recognition.is_index(source)
    recognition.confirm()
    assert recognition.is_index(source)
    recognition.note_failure(is_away=False)
    assert (recognition.is_index(source), recognition.is_due(follows=True)) == (False, True)


def test_where_orthanc_stays_away_its_index_is_left_to_others(looking):
    recognition = looking.recognition
    source = looking.settle()
    recognition.note_failure(is_away=True)
    looking.clock.time += REFUSE_AFTER
    recognition.note_failure(is_away=True)
    assert recognition.candidate == source
    looking.clock.time += 1
    recognition.note_failure(is_away=True)
    assert (recognition.candidate, recognition.known) == ("", source)


def test_an_earlier_state_is_refused_while_another_worker_follows_the_index(looking):
    backup = looking.index.copy()
    looking.recognition.find()
    (cursor,) = looking.ledger.indexes.all()
    looking.index.receive(file_of(0, 0, 0, 1, 0))
    newest = [mark_of(one) for one in looking.source.newest_changes()]
    read = replace(cursor, seq=newest[-1].seq, marks=add_marks(cursor.marks, newest))
    looking.ledger.arrivals.record([], read)
    looking.orthanc.stop()
    looking.orthanc.start(backup)
    looking.follows = False
    assert looking.recognition.find() is Pending.WAITS, "the other worker may be gone"
    assert looking.recognition.source == ""
    looking.clock.time += REFUSE_AFTER + 1
    with pytest.raises(OrthancError, match="a copy, or an earlier state"):
        looking.recognition.find()
    looking.follows = True
    assert looking.recognition.find().match is Match.RESTORED


@pytest.mark.parametrize("seconds", [1, 599, 601])
def test_changes_of_some_time_show_it_where_its_files_were_stored_anew(looking, seconds):
    """Those of a moment may be of another Orthanc that receives the same at once."""
    begun = looking.recognition.find().cursor
    looking.clock.time += seconds
    mine = looking.index.receive(file_of(0, 0, 0, 1, 0))
    page = looking.source.changes(begun.seq)
    read = replace(
        begun, seq=page.last, marks=add_marks(begun.marks, list(map(mark_of, page.entries)))
    )
    (described,) = looking.source.describe([mine])
    arrival = arrival_of(described, begun.source, "a", change=page.last)
    looking.ledger.arrivals.record([arrival], read)
    looking.index.compress(mine)
    found = compare(looking.ledger, looking.source, read, begun.name)
    assert found is (Match.PARTIAL if seconds == 601 else Match.NONE)


def test_an_index_counts_as_seen_only_by_the_worker_that_follows_it(looking, clock):
    """Of one that has lost its lock nobody reads what it receives: it must not hide that."""
    source = looking.settle()
    (begun,) = looking.ledger.indexes.all()
    looking.follows = False
    clock.now += RECOGNIZE_EVERY
    assert looking.settle() == source
    assert looking.ledger.indexes.get(source).seen_at == begun.seen_at
    looking.follows = True
    looking.settle()
    assert looking.ledger.indexes.get(source).seen_at == clock.now
