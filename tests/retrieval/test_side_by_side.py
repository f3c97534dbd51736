"""Small files of one request: noted together, given side by side, each settled for itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.errors import OrthancUnavailableError, StoreError
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.retrieval.judgement import Judgement, Taken
from orthanc_gcp.retrieval.retriever import Retriever
from orthanc_gcp.retrieval.side_by_side import MOST_BYTES, MOST_FILES, SideBySide
from tests.retrieval.test_plan import ROW
from tests.support.simulation import FakeClock


class Trial:
    def __init__(self):
        self.noted, self.given, self.settled, self.errors = [], [], [], {}
        self.ledger_fails_at = None

    def note(self, coming):
        if self.ledger_fails_at in [one.id for one in coming]:
            raise sql.exc.OperationalError("away", None, Exception())
        self.noted.append([one.id for one in coming])
        assert {one.attempts for one in coming} == {1}

    def give(self, contents):
        return (self.give_one(content) for content in contents)

    def give_one(self, content):
        number = int(content.split(b" ")[0])
        assert any(number in some for some in self.noted), "it was noted before"
        self.given.append(number)
        if number in self.errors:
            raise self.errors[number]
        return Judgement(Taken.STORED, str(number))

    def settle(self, row, digests, judgement):
        assert digests.size_bytes
        self.settled.append((row.id, judgement.orthanc_id))

    def run(self, count, size=0, pool=None):
        with ThreadPoolExecutor(3) as own:
            files = SideBySide(pool or own, self.note, self.give, self.settle)
            try:
                for number in range(count):
                    files.add(replace(ROW, id=number), f"{number} ".encode().ljust(size))
            finally:
                files.end()


@pytest.fixture
def trial():
    return Trial()


@pytest.mark.parametrize(
    ("count", "size", "notes"),
    [
        (0, 0, []),
        (1, 0, [1]),
        (2 * MOST_FILES + 3, 0, [MOST_FILES, MOST_FILES, 3]),
        (5, MOST_BYTES // 2, [2, 2, 1]),
    ],
)
def test_all_of_them(trial, count, size, notes):
    trial.run(count, size)
    assert [len(some) for some in trial.noted] == notes
    assert sorted(trial.given) == list(range(count))
    assert sorted(trial.settled) == [(number, str(number)) for number in range(count)]


def test_one_that_fails_is_in_the_way_of_no_other(trial):
    trial.errors = {3: OrthancUnavailableError("away")}
    with pytest.raises(OrthancUnavailableError):
        trial.run(MOST_FILES + 10)
    settled = {number for number, _ in trial.settled}
    assert settled >= {0, 1, 2, *range(8, MOST_FILES)}, "what came before, and by other threads"
    assert 3 not in settled
    assert len(trial.noted) == 1, "what is not given is not counted"


def test_what_is_not_noted_is_not_given(trial):
    trial.ledger_fails_at = MOST_FILES
    with pytest.raises(sql.exc.OperationalError):
        trial.run(MOST_FILES + 10)
    assert sorted(trial.given) == list(range(MOST_FILES))
    assert len(trial.settled) == MOST_FILES, "what was given is settled"


def test_what_is_begun_when_a_retriever_stops_is_given(trial, sqlite_ledger, clock):
    """Nobody waits for ever for what was cancelled."""
    pools = []

    def pool(count, name):
        pools.append(ThreadPoolExecutor(count, name))
        return pools[-1]

    retriever = Retriever(
        sqlite_ledger, None, None, {}, FakeClock(), Conditions(str, bool, bool), pool=pool
    )
    (uploads,) = [one for one in pools if "upload" in one._thread_name_prefix]
    occupied = threading.Event()
    blockers = [uploads.submit(occupied.wait, 20) for _ in range(uploads._max_workers)]
    files = SideBySide(uploads, trial.note, trial.give, trial.settle)
    for number in range(MOST_FILES):
        files.add(replace(ROW, id=number), f"{number} ".encode())
    retriever.stop()
    occupied.set()
    files.end()
    assert all(blocker.result() for blocker in blockers)
    assert len(trial.settled) == MOST_FILES


def test_it_is_broken_off_when_no_thread_is_begun_any_more(trial):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(StoreError) as caught:
        trial.run(3, pool=pool)
    assert caught.value.reason == "aborted"
    assert trial.settled == []
