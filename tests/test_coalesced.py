"""What many threads want at the same moment, done as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from orthanc_gcp.coalesced import Coalesced

THREADS = 20
MOMENT = 0.2
"""Seconds in which threads that were started have come."""


class Doubler:
    """Doubles numbers, all but some, after a gate was opened.

    Attributes
    ----------
    calls
        How many it was to double, each time.
    """

    def __init__(self, *bad: int) -> None:
        self._bad, self.gate = set(bad), Event()
        self.calls: list[int] = []

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(len(numbers))
        assert self.gate.wait(10)
        if found := self._bad.intersection(numbers):
            raise ValueError(f"bad: {found}")
        return [2 * number for number in numbers]


def results(doubler: Doubler) -> dict[int, int | str]:
    """What each of many threads has, of its number; or its error."""
    coalesced = Coalesced(doubler)
    with ThreadPoolExecutor(THREADS) as pool:
        futures = {number: pool.submit(coalesced, number) for number in range(THREADS)}
        time.sleep(MOMENT)
        doubler.gate.set()
        return {
            number: str(future.exception()) if future.exception() else future.result()
            for number, future in futures.items()
        }


def test_each_has_its_own_answer_of_few_calls():
    doubler = Doubler()
    assert results(doubler) == {number: 2 * number for number in range(THREADS)}
    assert len(doubler.calls) < THREADS
    assert sum(doubler.calls) == THREADS


@pytest.mark.parametrize("bad", [0, 7, THREADS - 1])
def test_what_fails_for_one_fails_for_no_other(bad):
    expected: dict[int, int | str] = {number: 2 * number for number in range(THREADS)}
    assert results(Doubler(bad)) == expected | {bad: f"bad: {{{bad}}}"}


def test_who_fails_alone_has_not_tried_twice():
    doubler = Doubler(1)
    doubler.gate.set()
    coalesced = Coalesced(doubler)
    with pytest.raises(ValueError, match="bad"):
        coalesced(1)
    assert doubler.calls == [1]
    assert coalesced(2) == 4
