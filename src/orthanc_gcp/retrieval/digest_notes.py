"""Writes digests into the ledger for several threads at once: all that wait, in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orthanc_gcp.ledger.retrievals.rows import Coming

__all__ = ["DigestNotes"]


@dataclass
class _Waiting:
    coming: Sequence[Coming]
    is_written: bool = False


class DigestNotes:
    """What several threads are about to give Orthanc.

    Parameters
    ----------
    write
        Writes some of it down, in one transaction.
    """

    def __init__(self, write: Callable[[Sequence[Coming]], None]) -> None:
        self._write = write
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting] = []

    def note(self, coming: Sequence[Coming]) -> None:
        """Return when it is written down; also raises what ``write`` raises of these.

        Whoever has the turn writes for all that wait, who find it done when their turn comes.
        """
        mine = _Waiting(coming)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if mine.is_written:
                return
            with self._lock:
                some, self._waiting = self._waiting, []
            try:
                self._write([one for each in some for one in each.coming])
            except Exception:
                with self._lock:  # each of the others tries it itself
                    self._waiting = [one for one in some if one is not mine] + self._waiting
                raise
            for one in some:
                one.is_written = True
