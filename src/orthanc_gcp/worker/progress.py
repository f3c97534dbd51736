"""Whether the loops of a worker go on: one that hangs ends the process, which is started again.

Time is counted in the rounds of a thread that does nothing else, so that a process that was stopped
(SIGSTOP), or a machine that slept, is not taken for one that hangs. What sends and what reads back
is not watched here: each wait of theirs for the network has a time limit of its own.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy import event

__all__ = ["HUNG", "Progress"]

_log = logging.getLogger(__name__)

HUNG = 4
"""The exit code of a worker that has ended as it hung."""
ROUND = 1.0
"""Seconds from one look at the steps to the next."""
HUNG_AFTER = 40
"""Rounds that a step may take without an answer of Orthanc or of the ledger between."""
HUNG_IN_LEDGER_AFTER = 600
"""Rounds that one statement may take: of a million rows, or while another holds a lock."""
HUNG_IN_NETWORK_AFTER = 600
"""Rounds that a step may take that waits for Google: for a token, a name server, a connection and
an answer, one after the other, each of which ends by itself."""


@dataclass(slots=True)
class _Step:
    what: str
    since: int
    in_ledger: bool = False
    in_network: bool = False


class Progress:
    """What each loop is doing, and since when.

    Parameters
    ----------
    end
        Ends the process at once, with an exit code.
    """

    def __init__(self, end: Callable[[int], object] = os._exit) -> None:
        self._end, self._round = end, 0
        self._steps: dict[int, _Step] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gcp-progress", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopping.set()

    def of_ledger(self, engine: sql.Engine) -> None:
        """Count what a database answers as progress of the step that has asked."""
        event.listen(engine, "before_cursor_execute", lambda *_: self._mark(in_ledger=True))
        event.listen(engine, "after_cursor_execute", lambda *_: self.made())
        event.listen(engine, "handle_error", lambda *_: self.made())

    @contextmanager
    def step(self, what: str, *, in_network: bool = False) -> Iterator[None]:
        """What this thread does now is a step of a loop.

        Parameters
        ----------
        in_network
            Whether it waits for Google.
        """
        thread = threading.get_ident()
        self._steps[thread] = _Step(what, self._round, in_network=in_network)
        try:
            yield
        finally:
            del self._steps[thread]

    def made(self) -> None:
        """The step of this thread, if it is one, has come further."""
        self._mark(in_ledger=False)

    def _mark(self, *, in_ledger: bool) -> None:
        step = self._steps.get(threading.get_ident())
        if step is not None:
            step.since, step.in_ledger = self._round, in_ledger

    def _watch(self) -> None:
        while not self._stopping.wait(ROUND):
            self._round += 1
            for thread, step in list(self._steps.items()):
                if self._round - step.since > _limit(step):
                    self._give_up(thread, step)
                    return

    def _give_up(self, thread: int, step: _Step) -> None:
        frame: Any = sys._current_frames().get(thread)
        places = "".join(traceback.format_stack(frame)).rstrip() if frame else ""
        _log.critical(
            "the worker hangs: %s has made no progress for %d s; it ends, and what it was sending "
            "waits again\n%s",
            step.what,
            _limit(step) * ROUND,
            places,
        )
        self._end(HUNG)


def _limit(step: _Step) -> int:
    if step.in_ledger:
        return HUNG_IN_LEDGER_AFTER
    return HUNG_IN_NETWORK_AFTER if step.in_network else HUNG_AFTER
