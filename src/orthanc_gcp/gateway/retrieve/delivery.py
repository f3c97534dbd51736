"""Sends what is staged to the destination of a C-MOVE, over a few associations."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.retrieve.associate_pdus import MOST_CONTEXTS
from orthanc_gcp.gateway.retrieve.file_meta import FileMeta, NoFileError
from orthanc_gcp.gateway.retrieve.staging import AS_STORED, Staged, Staging, shown
from orthanc_gcp.gateway.retrieve.store_request import Originator, StoreResponse
from orthanc_gcp.gateway.retrieve.store_scu import (
    Destination,
    DestinationError,
    StoreAssociation,
    Syntax,
)
from orthanc_gcp.gateway.retrieve.sub_operations import Instance, Outcome, SubOperations
from orthanc_gcp.logs import places

__all__ = ["Delivery", "outcome_of", "proposed_syntaxes", "use_another"]

_log = logging.getLogger(__name__)

MOST_ASSOCIATIONS = 4
MOST_ATTEMPTS = 3
"""So often an instance is sent whose association then ends."""
MOST_FAILURES, MOST_UNSTORED, MOST_UNMADE = 8, 5, 3
"""So many associations end or are not made, one after another, until all is given up; so many as
long as nothing was ever stored; and so many as long as none was ever made."""
BACKOFF = Backoff(0.5, 10.0)
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Explicit and Implicit VR Little Endian: what the store transcodes into, in this order."""


class Contexts(Protocol):
    """An association, and what was agreed on for it."""

    def context(self, syntax: Syntax) -> int | None:
        """The ID of the presentation context for a SOP class and transfer syntax; None for none."""


@dataclass
class _Line:
    """What one thread sends on.

    Attributes
    ----------
    is_first
        Whether it is the one that goes on whatever happens.
    """

    association: StoreAssociation | None
    is_first: bool


class Delivery:
    """Sends to one destination, on a thread for each association.

    Parameters
    ----------
    classes
        The SOP classes of what is to be sent.
    name
        What the log calls it.
    """

    def __init__(
        self,
        destination: Destination,
        staging: Staging,
        operations: SubOperations,
        originator: Originator,
        classes: Sequence[str],
        name: str,
    ) -> None:
        self._destination, self._staging, self._operations = destination, staging, operations
        self._originator, self._classes, self._name = originator, classes, name
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[StoreAssociation] = set()
        self._syntaxes: dict[Syntax, None] = {}
        self._failures, self._most_failures = 0, MOST_UNMADE
        self._attempts: dict[Instance, int] = {}
        self._may_grow, self._has_stored = True, False

    def start(self) -> None:
        """Begin to send, on one association: more may have to wait for its end."""
        self._begin(self._run)

    def grow(self) -> None:
        """Send on one association more, if there is something for it."""
        alive = [one for one in self._threads if one.is_alive()]
        wanted = self._may_grow and self._has_stored and self._staging.has_staged
        if wanted and len(alive) < MOST_ASSOCIATIONS:
            try:
                self._begin(self._run_beside)
            except RuntimeError:  # no thread can be started just now
                self._may_grow = False

    def stop(self, within: float) -> None:
        """Wait some seconds for what is on its way, then end it; the sub-operations are over."""
        self._may_grow = False
        with self._lock:
            idle = [one for one in self._open if not one.is_established]
        for association in idle:
            association.close()
        for thread in self._threads:
            thread.join(within / len(self._threads))
        with self._lock:
            left = list(self._open)
        for association in left:
            association.close()

    def _begin(self, task: Callable[[], None]) -> None:
        thread = threading.Thread(target=task, name="gcp-store", daemon=True)
        thread.start()
        self._threads.append(thread)

    # -- Associations -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._operations.is_over:
            self._send_all(_Line(None, is_first=True))

    def _run_beside(self) -> None:
        """One that is not needed: what keeps it from being made is no failure."""
        try:
            self._send_all(_Line(self._made(), is_first=False))
        except DestinationError:
            self._may_grow = False

    def _send_all(self, line: _Line) -> None:
        """Send until nothing is left, or the association is lost."""
        try:
            while (one := self._staging.take()) is not None:
                self._send(one, line)
                if line.association is None:
                    return
        finally:
            self._leave(line)

    def _made(self, first: Syntax | None = None) -> StoreAssociation:
        """An association for all that was seen so far."""
        with self._lock:
            if first is not None:
                self._syntaxes.pop(first, None)
                self._syntaxes[first] = None
            proposed = proposed_syntaxes(list(self._syntaxes), self._classes)
            association = StoreAssociation(self._destination)
            self._open.add(association)
        try:
            association.open(proposed)
        except DestinationError:
            self._forget(association)
            raise
        self._most_failures = max(self._most_failures, MOST_UNSTORED)
        return association

    def _leave(self, line: _Line) -> None:
        """Release an association."""
        if line.association is not None:
            line.association.release()
            self._forget(line.association)
            line.association = None

    def _abort(self, line: _Line) -> None:
        """End an association that is in the middle of an instance, or not there any more."""
        if line.association is not None and not line.association.is_usable:
            line.association.abort()
            self._forget(line.association)
            line.association = None

    def _forget(self, association: StoreAssociation) -> None:
        association.close()
        with self._lock:
            self._open.discard(association)

    # -- Instances --------------------------------------------------------------------------------

    def _send(self, one: Staged, line: _Line) -> None:
        """Send an instance, and say what became of it."""
        try:
            with self._staging.opened(one) as (meta, data_set):
                self._store(one, line, meta, data_set)
        except NoFileError as error:
            self._staging.fail(one.instance, str(error))
        except StoreError as error:
            self._abort(line)
            self._staging.failed(one, error)
        except DestinationError as error:
            was_sent = line.association is not None
            self._abort(line)
            self._lost(one, error, was_sent=was_sent, is_first=line.is_first)
        except Exception as error:
            _log.error("sending failed unexpectedly\n%s", places(error))
            self._abort(line)
            self._staging.fail(one.instance, "it failed unexpectedly")

    def _store(self, one: Staged, line: _Line, meta: FileMeta, data_set: Iterator[bytes]) -> None:
        stored = (meta.sop_class, meta.transfer_syntax)
        if line.association is None or stored not in line.association.proposed:
            self._leave(line)
            line.association = self._made(stored)
        if line.association.context(stored) is None:
            use_another(line.association, self._staging, one, stored, self._destination.aet)
            return
        response = line.association.store(stored, meta, data_set, self._originator)
        self._answered(one, response)

    def _answered(self, one: Staged, response: StoreResponse) -> None:
        self._failures, self._most_failures, self._has_stored = 0, MOST_FAILURES, True
        outcome = outcome_of(response.status)
        if outcome is Outcome.FAILED:
            why = f"{self._destination.aet} answers {response.status:04X}"
            self._staging.fail(one.instance, why, why)
        else:
            self._operations.settle(one.instance, outcome)

    def _lost(
        self, one: Staged, error: DestinationError, *, was_sent: bool, is_first: bool
    ) -> None:
        """Try again, after a while, unless that was often enough."""
        with self._lock:
            self._failures += is_first
            failures = self._failures
            attempts = self._attempts.get(one.instance, 0) + was_sent
            self._attempts[one.instance] = attempts
        words = f"{self._destination.aet}: {error}"
        if self._operations.is_over:
            return
        if failures >= self._most_failures or not error.retryable:
            if left := self._operations.abandon(words):
                _log.error("%s: %d instances are not sent: %s", self._name, left, words)
            return
        if attempts >= MOST_ATTEMPTS:
            self._staging.fail(one.instance, words, words)
        else:
            _log.info("%s: instance %s is sent again: %s", self._name, shown(one.instance), words)
            self._staging.put_back(one)
        if is_first:
            self._operations.wait(BACKOFF.delay(failures))


def use_another(there: Contexts, staging: Staging, one: Staged, stored: Syntax, aet: str) -> None:
    """Have an instance transcoded into what is taken there, if there is such a thing.

    Parameters
    ----------
    stored
        What it is, which is not taken.
    """
    for transfer_syntax in UNCOMPRESSED if one.transfer_syntax == AS_STORED else ():
        if there.context((stored[0], transfer_syntax)) is not None:
            staging.transcode(one, transfer_syntax)
            return
    why = f"{aet} takes no SOP class {stored[0]} in {stored[1]}, nor uncompressed"
    staging.fail(one.instance, why, f"{aet} takes no {stored[0]}")


def outcome_of(status: int) -> Outcome:
    """What the status of a C-STORE says (PS3.4 §B.2.3, PS3.7 annex C)."""
    if status == 0:
        return Outcome.COMPLETED
    warning = status & 0xF000 == 0xB000 or status in (0x0001, 0x0107, 0x0116)
    return Outcome.WARNING if warning else Outcome.FAILED


def proposed_syntaxes(seen: Sequence[Syntax], classes: Iterable[str]) -> list[Syntax]:
    """What is asked of a destination, as much as an association can have.

    First what the instance is that is to be sent now, then all classes uncompressed, and last all
    of them in each transfer syntax that was seen: others of them may have it, too.

    Parameters
    ----------
    seen
        What instances were so far, the last one being that of now.
    """
    now = seen[-1:]
    every = list(dict.fromkeys([*(one for one, _ in now), *classes, *(one for one, _ in seen)]))
    stored = dict.fromkeys(transfer_syntax for _, transfer_syntax in seen)
    uncompressed = [(one, syntax) for one in every for syntax in UNCOMPRESSED]
    others = [(one, syntax) for syntax in stored for one in every]
    return list(dict.fromkeys([*now, *uncompressed, *seen, *others]))[:MOST_CONTEXTS]
