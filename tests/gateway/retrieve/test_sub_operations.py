"""Counts, and how a retrieval ends."""

from __future__ import annotations

import threading

import pytest

from orthanc_gcp.gateway.retrieve.sub_operations import Instance, Outcome, SubOperations

C, W, F = Outcome.COMPLETED, Outcome.WARNING, Outcome.FAILED


def instances(count):
    return [Instance(("1", "2", f"3.{number}"), 10) for number in range(count)]


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ((), 0x0000),
        ((C, C), 0x0000),
        ((C, W), 0xB000),
        ((C, F), 0xB000),
        ((W, F), 0xB000),
        ((F, F), 0xA702),
    ],
)
def test_the_last_status(outcomes, status):
    all_of_them = instances(len(outcomes))
    operations = SubOperations(all_of_them)
    assert operations.pending().remaining == len(outcomes)
    for instance, outcome in zip(all_of_them, outcomes, strict=True):
        assert not operations.is_over
        assert operations.settle(instance, outcome)
        assert not operations.settle(instance, F), "it was said already"
    assert operations.is_over
    found = operations.final()
    assert (found.status, found.remaining) == (status, None)
    assert (found.completed, found.failed, found.warning) == (
        outcomes.count(C),
        outcomes.count(F),
        outcomes.count(W),
    )
    assert len(found.failed_uids) == found.failed


def test_cancelled():
    all_of_them = instances(5)
    operations = SubOperations(all_of_them)
    operations.settle(all_of_them[0], C)
    operations.settle(all_of_them[1], F)
    operations.cancel()
    assert operations.is_over
    found = operations.final()
    assert (found.status, found.remaining, found.completed, found.failed) == (0xFE00, 3, 1, 1)
    assert found.failed_uids == ("3.1",)


def test_given_up():
    all_of_them = instances(3)
    operations = SubOperations(all_of_them)
    operations.settle(all_of_them[2], C)
    assert operations.abandon("DEST: it is away") == 2
    found = operations.final()
    assert (found.status, found.failed, found.comment) == (0xB000, 2, "DEST: it is away")
    assert operations.abandon("again") == 0


def test_the_first_reason_is_the_comment():
    all_of_them = instances(2)
    operations = SubOperations(all_of_them)
    operations.settle(all_of_them[0], F, "first")
    operations.settle(all_of_them[1], F, "second")
    assert operations.final().comment == "first"


def test_as_many_failed_uids_as_fit():
    many = [Instance(("1", "2", f"3.{number:060}"), 1) for number in range(2000)]
    operations = SubOperations(many)
    operations.abandon("")
    found = operations.final()
    assert (found.failed, len(found.failed_uids)) == (2000, 65534 // 63)
    assert len("\\".join(found.failed_uids)) <= 65534


def test_those_who_wait_are_called():
    all_of_them = instances(1)
    operations = SubOperations(all_of_them)
    assert not operations.wait(0)
    waiting = threading.Thread(target=operations.wait, args=(20,))
    waiting.start()
    operations.settle(all_of_them[0], C)
    waiting.join(20)
    assert not waiting.is_alive()
