"""Whose fault it is that Orthanc gives no file: that of one instance, or of its whole storage.

An index that names a file which the storage does not have, or cannot give back, needs a person. A
volume that is not mounted gives none, and is the fault of no instance. Which of the two it is shows
in the storage folder, where that is seen from here and Orthanc itself keeps the files in it, and
otherwise in files of other instances, which are read. They are asked for anew at each failure: a
restart of the worker forgets nothing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.destinations.fault_scope import MOST_SUBJECTS, SHARED_BY, Blame
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.outages import Outage

__all__ = ["StoredFiles"]

_log = logging.getLogger(__name__)

PROBE_EVERY = 5.0
"""Seconds for which what other files have shown is believed."""
PAUSE = Backoff(1.0, 60.0)
"""Between two tries while Orthanc can give no file at all."""
SHOWN_FOR = 120.0
"""Seconds after a pause for which its reason is still shown, until a file was read."""


class StoredFiles:
    """The files of one Orthanc, as far as they can be read; one object serves all threads.

    Parameters
    ----------
    clock
        A steady one.
    """

    def __init__(
        self, orthanc: OrthancSource, clock: Clock, jitter: Callable[[], float] = random.random
    ) -> None:
        self._orthanc, self._clock, self._jitter = orthanc, clock, jitter
        self._lock = threading.Lock()
        self._failing: OrderedDict[str, None] = OrderedDict()  # Orthanc's identifiers
        self._probed_at, self._reads_others = float("-inf"), False
        self._failures, self._failed_at, self._resume = 0, float("-inf"), float("-inf")
        self._words = ""
        self._outage = Outage(
            _log, "Orthanc cannot read its files", "Orthanc can read its files again", clock
        )

    @property
    def pause(self) -> float:
        """Seconds until the next file may be asked for, 0 or more."""
        with self._lock:
            return max(0.0, self._resume - self._clock.now())

    @property
    def problem(self) -> str | None:
        """Why no file can be read; None while some can, as far as that is known."""
        with self._lock:
            shown = self._words and self._clock.now() < self._resume + SHOWN_FOR
            return self._words if shown else None

    def succeeded(self, orthanc_ids: Collection[str], began: float) -> None:
        """The files of some instances were read, from a time of the clock on."""
        if not orthanc_ids:
            return
        with self._lock:
            for orthanc_id in self._failing.keys() & orthanc_ids:
                del self._failing[orthanc_id]
            if self._failures and began >= self._failed_at:
                self._failures, self._resume, self._words = 0, float("-inf"), ""
        self._outage.ended(began=began)

    def failed(self, row: Transfer, words: str) -> Blame:
        """The file of an instance could not be read, or was not what it was; whose fault that is.

        Where it is that of the whole storage, there is a pause.

        Parameters
        ----------
        words
            Why, for the log.
        """
        with self._lock:
            self._failing[row.orthanc_id] = None
            self._failing.move_to_end(row.orthanc_id)
            while len(self._failing) > MOST_SUBJECTS:
                self._failing.popitem(last=False)
        blame = self._blame(row)
        if blame is Blame.DESTINATION:
            self._begin_pause(words)
        return blame

    def _blame(self, row: Transfer) -> Blame:
        if self._orthanc.misses_only(row.attachment_uuid):
            return Blame.SUBJECT
        reads_others = self._probe()
        if reads_others is None:  # there are none
            with self._lock:
                shared = len(self._failing) >= SHARED_BY
            return Blame.DESTINATION if shared else Blame.UNKNOWN
        return Blame.SUBJECT if reads_others else Blame.DESTINATION

    def _probe(self) -> bool | None:
        """Whether files of other instances can be read; None where there are no others."""
        with self._lock:
            if self._reads_others and self._clock.now() - self._probed_at < PROBE_EVERY:
                return True
            failing = frozenset(self._failing)
        found = self._orthanc.reads_others(failing)
        with self._lock:
            self._reads_others, self._probed_at = bool(found), self._clock.now()
        return found

    def _begin_pause(self, words: str) -> None:
        with self._lock:
            now = self._clock.now()
            if now >= self._resume:
                self._failures, self._failed_at = self._failures + 1, now
                self._resume = now + PAUSE.delay(self._failures, self._jitter)
            self._words = f"Orthanc cannot read its files, is its storage mounted? {words}"
            wait = self._resume - now
        self._outage.failed(words, wait, kind="storage")
