"""Who waits while others write has his notes written with them, and never before."""

from __future__ import annotations

import threading

import pytest

from orthanc_gcp.ledger.retrievals.rows import Coming, Digests
from orthanc_gcp.retrieval.digest_notes import DigestNotes
from tests.support.orthanc import wait_until


def coming(number):
    return [Coming(number, 1, Digests(1, "md5", "sha256"))]


@pytest.mark.parametrize("fails", [False, True])
def test_those_that_wait_are_written_together(fails):
    written, begun, go_on = [], threading.Event(), threading.Event()
    returned, failed = [], []

    def write(some):
        begun.set()
        assert go_on.wait(20)
        if fails and 0 in {one.id for one in some}:
            raise ZeroDivisionError
        written.append(sorted(one.id for one in some))

    notes = DigestNotes(write)

    def note(number):
        try:
            notes.note(coming(number))
            assert any(number in one for one in written)
            returned.append(number)
        except ZeroDivisionError:
            failed.append(number)

    threads = [threading.Thread(target=note, args=(number,)) for number in range(5)]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(notes._waiting) == 4, 20)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert written == ([] if fails else [[0]]) + [[1, 2, 3, 4]]
    assert (sorted(returned), failed) == (([1, 2, 3, 4], [0]) if fails else ([0, 1, 2, 3, 4], []))


def test_a_failure_is_of_who_writes_and_the_others_try_it_themselves():
    written, go_on, begun = [], threading.Event(), threading.Event()

    def write(some):
        begun.set()
        assert go_on.wait(20)
        if len(some) > 1:
            raise ZeroDivisionError
        written.append(some[0].id)

    notes, failed = DigestNotes(write), []

    def note(number):
        try:
            notes.note(coming(number))
        except ZeroDivisionError:
            failed.append(number)

    threads = [threading.Thread(target=note, args=(number,)) for number in range(3)]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(notes._waiting) == 2, 20)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert sorted(written + failed) == [0, 1, 2]
    assert len(failed) == 1
