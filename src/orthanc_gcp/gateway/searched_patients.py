"""Patients that somebody has searched for: their priors are to be fetched.

The ledger gets the Study Instance UID of one of their studies, which the worker asks whose it is:
no patient data stands there. In memory there is a hash of who they are, for as long as they are not
written down again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.dicomweb.matching import is_wild
from orthanc_gcp.dicomweb.search import found_study
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.gateway.request import FindRequest
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.uids import uid_fault
from orthanc_gcp.thread_pools import submit

__all__ = ["SearchedPatients"]

_log = logging.getLogger(__name__)

AGAIN_AFTER = 3600.0
"""Seconds for which the priors of a patient are not looked for again."""
MOST_PATIENTS, MOST_WAITING = 10_000, 100
_PATIENT_ID = ("00100020",)


class SearchedPatients:
    """Writes them down; several threads may use it at once.

    Parameters
    ----------
    accounts
        Those that have a rule for it.
    name
        Gives what the ledger calls this Orthanc.
    """

    def __init__(self, ledger: Ledger, accounts: Collection[str], name: Callable[[], str]) -> None:
        self._ledger, self._accounts, self._name = ledger, frozenset(accounts), name
        self._lock = threading.Lock()
        self._recent: OrderedDict[int, float] = OrderedDict()
        self._waiting = 0
        self._pool = ThreadPoolExecutor(1, "gcp-searched")
        self._is_failing = False

    def close(self) -> None:
        """Write nothing down any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def found(self, account: str, request: FindRequest, match: Mapping[str, Any]) -> None:
        """A search has a match; it counts where it is for one patient.

        Parameters
        ----------
        match
            In the DICOM JSON model.
        """
        study, patient = found_study(match), _patient_of(request)
        if account not in self._accounts or not patient or not study:
            return
        if uid_fault(study, "1", "1") is not None or "." not in study:
            return
        key, now = hash((account, patient)), time.monotonic()
        with self._lock:
            if now - self._recent.get(key, -AGAIN_AFTER) < AGAIN_AFTER:
                return
            if self._waiting >= MOST_WAITING:
                return  # the next search for this patient counts
            self._waiting += 1
            self._recent[key] = now
            self._recent.move_to_end(key)
            while len(self._recent) > MOST_PATIENTS:
                self._recent.popitem(last=False)
        try:
            submit(self._pool, partial(self._write, account, study, key))
        except RuntimeError:  # no thread can be started just now, or it is being closed
            self._waits_no_more(key, is_written=False)

    def _write(self, account: str, study: str, key: int) -> None:
        is_written = False
        try:
            source = self._source()
            if source:
                self._ledger.prefetches.search_for(source, study, account, AGAIN_AFTER)
                is_written = True
            self._say("" if source else "no worker has followed this Orthanc yet")
        except (OrthancError, SQLAlchemyError) as error:
            self._say(type(error).__name__)
        finally:
            self._waits_no_more(key, is_written=is_written)

    def _waits_no_more(self, key: int, *, is_written: bool) -> None:
        with self._lock:
            self._waiting -= 1
            if not is_written:  # the next search for this patient counts
                self._recent.pop(key, None)

    def _source(self) -> str:
        """The ledger's name for the index of this Orthanc; empty while it has none."""
        name = self._name()
        own = [one for one in self._ledger.indexes.all() if one.name == name]
        newest = max(own, key=lambda one: one.seen_at or 0.0, default=None)
        return "" if newest is None else newest.source

    def _say(self, problem: str) -> None:
        """Once when it begins to fail."""
        if problem and not self._is_failing:
            words = "the priors of patients that are searched for are not fetched: %s"
            _log.warning(words, problem)
        self._is_failing = bool(problem)


def _patient_of(request: FindRequest) -> str:
    """The one PatientID that a request is for; empty for none, or for several."""
    for key in request.keys:
        if key.path == _PATIENT_ID and len(key.values) == 1 and not is_wild(key.values[0]):
            return key.values[0]
    return ""
