"""Reads back what the store has: only what was seen there is confirmed.

What a store acknowledges in the answer to a store transaction (PS3.18 §10.5) is searched for by all
three UIDs (§10.6), and retrieved where its bytes are to be compared, too (§10.4). A match counts
for the instance that it names by all three of them, and for no other.

Each series is read by itself, and each instance of it: what cannot be read is tried again after
ever longer pauses, and is in quarantine in the end where others can be read meanwhile.
"""

from __future__ import annotations

import logging
import random
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.custody.destinations.destination import INSTANCE_BACKOFF, Destination
from orthanc_gcp.custody.destinations.fault_scope import Blame, Verdict
from orthanc_gcp.custody.outcomes import quarantined
from orthanc_gcp.custody.verification.conflict import OF_ALL
from orthanc_gcp.custody.verification.digest import digest_of
from orthanc_gcp.dicomweb import FoundInstance
from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome, Series, Transfer
from orthanc_gcp.ledger.schema import Priority, State
from orthanc_gcp.ledger.uids import uid_fault
from orthanc_gcp.logs import places
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = ["SEARCH_LAG", "ReadBack", "presumed"]

_log = logging.getLogger(__name__)

FEW, LISTED = 4, 100
"""Up to so many instances are searched one by one, if their series has more than the other number
for each of them; others by listing their series."""
MOST_KNOWN = 1000
"""So many rows of several series are in memory at once; with more, those of one series."""
CONFIRMED_AT_ONCE = 200
"""So many instances that were seen are confirmed in one transaction."""
SEARCH_LAG = 30.0
"""Seconds that a search may lag behind; what is still missing then is sent again."""
DOUBTED_AFTER = 10.0
"""Seconds after which what a search finds at last may be what somebody else has stored since."""
SHORTEST_WAIT, LONGEST_WAIT = 0.3, 10.0
LONGEST_WAIT_FOR_ALL = 120.0
"""Seconds after which what is missing is searched again while the store shows nothing at all."""
TRIED_EVERY = 600.0
"""Seconds after which one instance is sent again then: it may be that the store has lost all."""
UNREADABLE = (404, 500)
"""Statuses of an instance that a search finds and the store cannot give back."""
SAMPLE = 20
"""``Sample`` compares the bytes of one instance out of so many."""
MOST_REFUSALS, MOST_FAILURES = 6, 16
"""Attempts at reading a series that is refused, or that fails otherwise, while others are read."""
MOST_SENDINGS = 8
"""Attempts at sending what the store acknowledges and has not, while it has others; times that it
has given back other bytes since the worker began."""
FEWEST_SEARCHES = 4
"""Of these attempts, that have not found it since the worker began."""
MOST_UNREAD_TOGETHER = 3
"""So many instances of a series that cannot be retrieved: it is left for later."""
QUICK = 1.0
"""Seconds that a failure may take, and others wait for it."""
_REFUSALS = (400, 406, 409, 410, 411, 413, 414, 415, 416, 422, 431)
"""Statuses that stay the same whenever the same is asked for."""
_OF_ONE = (StoreReason.PROTOCOL, StoreReason.TRUNCATED, StoreReason.TIMEOUT)
"""What went wrong without a status, and may be about what was asked for."""


@dataclass
class _Reading:
    """What the store has of some instances.

    Attributes
    ----------
    found
        The instances that it has, as they were sent as far as that was looked at.
    compared
        Those of them, by their rows, whose bytes it has as they were sent, with their SHA-256.
    remembered
        Those of these that were compared when the store had refused them, and are not read again.
    missing
        Those that it does not have, or cannot give back.
    different
        Those that it has with other bytes, each with what it has.
    failed
        Those that it was asked for in vain.
    error
        Why.
    unread
        Those that it was not asked for, then.
    """

    found: list[Transfer] = field(default_factory=list)
    compared: dict[int, str] = field(default_factory=dict)
    remembered: set[int] = field(default_factory=set)
    missing: list[Transfer] = field(default_factory=list)
    different: list[tuple[Transfer, str]] = field(default_factory=list)
    failed: list[Transfer] = field(default_factory=list)
    error: StoreError | None = None
    unread: list[Transfer] = field(default_factory=list)

    def fail(self, rows: Iterable[Transfer], error: StoreError) -> None:
        """These were asked for in vain."""
        self.failed += rows
        self.error = self.error or error


class ReadBack:
    """Searches the stores for the instances that they have acknowledged.

    Parameters
    ----------
    stopping
        Whether the worker stops.
    renew
        Is called with an account whose access token was refused.
    """

    def __init__(
        self,
        ledger: Ledger,
        destinations: Mapping[str, Destination],
        stopping: Callable[[], bool],
        jitter: Callable[[], float] = random.random,
        renew: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger, self._destinations = ledger, destinations
        self._stopping, self._jitter, self._renew = stopping, jitter, renew
        self._shown_at: dict[str, float] = {}  # account -> when its store has shown anything
        self._tried_at: dict[str, float] = {}  # account -> when one was sent again, as it did not

    def confirm(
        self,
        account: str,
        series: Sequence[Series],
        may_ask: Callable[[Series], bool] = lambda _series: True,
    ) -> int:
        """Confirm what the store has of these series, once nothing of them is on its way.

        What cannot be read is asked for again later, all of it where the store is at fault.

        Parameters
        ----------
        may_ask
            Called before the store is asked for a series: whether it may be.

        Returns
        -------
        int
            For how many of them the store was asked.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away: what was seen is not confirmed, and is searched for again.
        """
        destination = self._destinations.get(account)
        if destination is None or self._stopping():
            return 0
        asked = 0
        seen: dict[int, float] = {}
        compared: dict[int, str] = {}
        remembered: set[int] = set()
        confirmations = self._ledger.confirmations
        readable = confirmations.to_read(account, series, MOST_KNOWN)
        for number, (one, known) in enumerate(readable.items(), 1):
            if self._stopping():
                break
            if not may_ask(one):
                continue
            rows = confirmations.acknowledged(account, one) if known is None else known
            began = self._ledger.now()
            reading, goes_on = self._read(destination, one, self._askable(rows))
            asked += bool(rows)
            seen |= {row.id: began for row in reading.found}
            compared |= reading.compared
            remembered |= reading.remembered
            if len(seen) >= CONFIRMED_AT_ONCE:
                confirmations.confirm(seen, compared, remembered)
                seen, compared, remembered = {}, {}, set()
            if not goes_on:
                confirmations.make_due(account, list(readable)[number:])
                break
        confirmations.confirm(seen, compared, remembered)
        return asked

    def _read(
        self, destination: Destination, series: Series, rows: Sequence[Transfer]
    ) -> tuple[_Reading, bool]:
        """What came of some instances of a series, and whether other series can be asked for."""
        if not rows:
            return _Reading(), True
        asked = destination.congestion.now
        reading = _ask(destination, series, rows, apart=self._is_long(destination, series, rows))
        if reading.error is None:
            now = destination.congestion.now
            destination.congestion.read_succeeded(asked)
            destination.reading.succeeded([series], asked, now)
        self._settle_missing(destination, series, reading, asked)
        if reading.error is None:
            return reading, True
        return reading, self._settle_failed(destination, series, reading, reading.error, asked)

    def _is_long(self, destination: Destination, series: Series, rows: Sequence[Transfer]) -> bool:
        """Whether it is less to search for each of some instances than to list their series."""
        if len(rows) == 1 or len(rows) > FEW:
            return len(rows) == 1
        confirmations = self._ledger.confirmations
        return confirmations.is_long(destination.account, series, LISTED * len(rows))

    def _askable(self, rows: Sequence[Transfer]) -> list[Transfer]:
        """Those with UIDs that can be asked for; the others, of an older ledger, need a person."""
        faults = {
            row.id: uid_fault(row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid)
            for row in rows
        }
        outcomes = [
            _quarantined(row, StoreReason.UID, faults[row.id] or "")
            for row in rows
            if faults[row.id]
        ]
        if outcomes:
            self._ledger.confirmations.settle(outcomes)
        return [row for row in rows if not faults[row.id]]

    # -- What could not be read -----------------------------------------------------------------

    def _settle_failed(
        self,
        destination: Destination,
        series: Series,
        reading: _Reading,
        error: StoreError,
        asked: float,
    ) -> bool:
        """Postpone what could not be read, or put it into quarantine; whether others may go on.

        They may not after one that the store is slow to fail at: each is due by itself then.
        """
        if error.status == 401:
            self._renew(destination.account)
        verdict = destination.reading.failed(
            series, asked, destination.congestion.now, otherwise=presumed(error)
        )
        shared = verdict.blame is Blame.DESTINATION or error.status in OF_ALL
        wait = INSTANCE_BACKOFF.delay(verdict.failures + 1, self._jitter)
        if shared:
            wait = destination.congestion.read_failed(error, asked)
        elif verdict.blame is Blame.UNKNOWN and error.status not in _REFUSALS:
            destination.congestion.read_failed(error, asked, suspect=True)
        due = self._ledger.now() + wait
        detail = f"it cannot be read back: {error}"
        most = _most_readings(verdict, error)
        hopeless = [
            row for row in reading.failed if verdict.is_final(row.attempts, most, MOST_REFUSALS)
        ]
        outcomes = [_quarantined(row, error.reason, detail) for row in hopeless]
        self._ledger.confirmations.settle(outcomes)
        counted = not shared and verdict.blame in (Blame.SUBJECT, Blame.UNKNOWN)
        for rows, counts in (reading.failed, counted), (reading.unread, False):
            self._ledger.confirmations.postpone(
                [row.id for row in rows], due, reason=error.reason, detail=detail, counts=counts
            )
        return not shared and destination.congestion.now - asked < QUICK

    # -- What is not there as it should be ------------------------------------------------------

    def _settle_missing(
        self, destination: Destination, series: Series, reading: _Reading, asked: float
    ) -> None:
        """Searches lag behind: search again for a while, then send again; not for ever."""
        rows, now = reading.missing, self._ledger.now()
        if reading.found:
            destination.finding.succeeded([series], asked, destination.congestion.now)
            self._shown_at[destination.account] = now
        if not rows and not reading.different:
            return
        times = self._ledger.confirmations.acknowledged_at([row.id for row in rows])
        gone = [row for row in rows if now - times.get(row.id, now) > SEARCH_LAG]
        again = [row for row in rows if now - times.get(row.id, now) <= SEARCH_LAG]
        outcomes = [
            self._sent_again(
                *(row, TransferReason.DIFFERENT, words),
                self._is_always_different(destination, row, asked),
            )
            for row, words in reading.different
        ]
        if gone:
            outcomes += self._settle_gone(destination, series, gone, times, asked)
        if outcomes:
            self._ledger.confirmations.settle(outcomes)
        self._search_again(again, times, LONGEST_WAIT)

    def _settle_gone(
        self,
        destination: Destination,
        series: Series,
        gone: Sequence[Transfer],
        times: Mapping[int, float],
        asked: float,
    ) -> list[Outcome]:
        """Send again what is missing for long; where the store shows nothing, search again."""
        verdict = destination.finding.failed(series, asked, destination.congestion.now)
        shown_at = self._shown_at.get(destination.account, float("-inf"))
        waiting = {row.id: row for row in gone if _is_of_all(verdict, times[row.id], shown_at)}
        if waiting and self._is_tried(destination):
            waiting.popitem()
        self._search_again(
            *(list(waiting.values()), times, LONGEST_WAIT_FOR_ALL),
            "the store acknowledged it, and shows nothing of what was sent",
        )
        sent = [row for row in gone if row.id not in waiting]
        if sent:
            _log.error(
                "account %s: the store acknowledged %d instances of series %s and does not have "
                "them; they are sent again",
                destination.account,
                len(sent),
                series.series_instance_uid,
            )
        words = "the store acknowledged it, and a search did not find it"
        most = _most_sendings(verdict)
        return [
            self._sent_again(
                *(row, TransferReason.MISSING, words),
                verdict.is_final(row.attempts + 1, most, FEWEST_SEARCHES),
            )
            for row in sent
        ]

    def _is_tried(self, destination: Destination) -> bool:
        """Whether one instance is sent again though the store shows nothing; the log says so."""
        account, now = destination.account, destination.congestion.now
        if now - self._tried_at.get(account, float("-inf")) < TRIED_EVERY:
            return False
        self._tried_at[account] = now
        _log.error(
            "account %s: the store shows nothing of what it has acknowledged; it is searched for "
            "again, and one instance is sent again every %d minutes",
            account,
            TRIED_EVERY // 60,
        )
        return True

    def _search_again(
        self,
        rows: Sequence[Transfer],
        times: Mapping[int, float],
        longest: float,
        detail: str | None = None,
    ) -> None:
        """Search for these again after a pause that grows with the time since the first was sent.

        Parameters
        ----------
        times
            Row -> when the store acknowledged it.
        longest
            Seconds of the longest pause.
        """
        if not rows:
            return
        now = self._ledger.now()
        elapsed = now - min(times.get(row.id, now) for row in rows)
        due = now + min(longest, max(SHORTEST_WAIT, elapsed / 2))
        for doubted in (False, True):
            some = [
                row.id for row in rows if (now - times.get(row.id, now) > DOUBTED_AFTER) is doubted
            ]
            self._ledger.confirmations.postpone(some, due, detail=detail, other_is_there=doubted)

    @staticmethod
    def _is_always_different(destination: Destination, row: Transfer, asked: float) -> bool:
        """Whether it was so often enough, too: attempts that ended otherwise say nothing of it."""
        verdict = destination.differing.failed(row.id, asked, destination.congestion.now)
        return min(row.attempts + 1, verdict.failures) >= MOST_SENDINGS

    def _sent_again(self, row: Transfer, reason: str, words: str, too_often: bool) -> Outcome:
        if too_often:
            ended = _quarantined(row, reason, f"{words}, after {row.attempts} attempts")
            return replace(ended, other_is_there=True)
        due = self._ledger.now() + INSTANCE_BACKOFF.delay(row.attempts + 1, self._jitter)
        return Outcome(
            row.id,
            State.DELAYED,
            reason,
            words,
            sha256=row.sha256,
            next_attempt_at=due,
            max_batch_instances=row.max_batch_instances,
            replace=row.replace,
            attempts=row.attempts + 1,
            other_is_there=True,
        )


def presumed(error: StoreError) -> Blame:
    """Whose fault it is as long as nothing else was read meanwhile."""
    of_all = error.status is None and error.reason not in _OF_ONE
    return Blame.DESTINATION if of_all or error.status in OF_ALL else Blame.UNKNOWN


def _most_readings(verdict: Verdict, error: StoreError) -> float:
    """How often an instance may fail to be read back."""
    if verdict.blame in (Blame.DESTINATION, Blame.DOUBTFUL) or error.status in OF_ALL:
        return float("inf")
    refused = error.status in _REFUSALS
    if verdict.blame is Blame.SUBJECT:
        return MOST_REFUSALS if refused else MOST_FAILURES
    return MOST_FAILURES if refused else float("inf")  # a store may be away for a night


def _is_of_all(verdict: Verdict, acknowledged_at: float, shown_at: float) -> bool:
    """Whether it says nothing of an instance that it is missing, as the store shows nothing.

    Parameters
    ----------
    acknowledged_at
        When the store did that.
    shown_at
        When it has last shown anything: what it did not show with that, and had acknowledged
        before, it has lost.
    """
    is_doubtful = verdict.blame is Blame.DOUBTFUL
    return verdict.blame is Blame.DESTINATION or (is_doubtful and acknowledged_at >= shown_at)


def _most_sendings(verdict: Verdict) -> float:
    """How often the store may acknowledge what it does not have."""
    # It shows nothing of anything: its index is behind.
    if verdict.blame in (Blame.DESTINATION, Blame.DOUBTFUL):
        return float("inf")
    return MOST_SENDINGS if verdict.blame is Blame.SUBJECT else 2 * MOST_SENDINGS


def _quarantined(row: Transfer, reason: str, detail: str) -> Outcome:
    """It was not sent once more: only that counts as an attempt."""
    return replace(quarantined(row, reason, detail, row.sha256), attempts=row.attempts)


# -- What the store has -------------------------------------------------------------------------


def _ask(
    destination: Destination, series: Series, rows: Sequence[Transfer], *, apart: bool
) -> _Reading:
    """What the store has of some instances of a series.

    Parameters
    ----------
    apart
        Search for each of them, in place of listing the series.
    """
    try:
        reading = _search(destination, series, rows, apart=apart)
        _compare(destination, reading)
    except SQLAlchemyError:  # a limit on requests is counted in the ledger
        raise
    except Exception as error:  # a defect, which must not stop the others
        where = destination.account, series.series_instance_uid
        _log.error("account %s: series %s cannot be read back\n%s", *where, places(error))
        words = f"{type(error).__name__}, see the log"
        reading = _Reading(failed=list(rows))
        reading.error = StoreError(words, reason=StoreReason.PROTOCOL)
    return reading


def _search(
    destination: Destination, series: Series, rows: Sequence[Transfer], *, apart: bool
) -> _Reading:
    """Which of some instances of a series the store finds."""
    reading = _Reading()
    if not apart:
        _find(destination, series, rows, reading, None)
        return reading
    for row in rows:
        _find(destination, series, [row], reading, row.sop_instance_uid)
    return reading


def _find(
    destination: Destination,
    series: Series,
    rows: Sequence[Transfer],
    reading: _Reading,
    instance: str | None,
) -> None:
    """Search for instances of a series, or for one of them, until all were named."""
    wanted = {FoundInstance(*series, row.sop_instance_uid) for row in rows}
    named: set[FoundInstance] = set()
    error: StoreError | None = None
    try:
        with destination.request_to_read(Priority(min(row.priority for row in rows))):
            for found in destination.store.instances(*series, instance=instance):
                if found in wanted:
                    named.add(found)
                    if len(named) == len(wanted):
                        break
    except StoreError as failure:
        error = failure
    unnamed: list[Transfer] = []
    for row in rows:
        is_named = FoundInstance(*series, row.sop_instance_uid) in named
        (reading.found if is_named else unnamed).append(row)
    if error is not None and unnamed:
        reading.fail(unnamed, error)
    else:
        reading.missing += unnamed


def _compare(destination: Destination, reading: _Reading) -> None:
    """Take out of what was found what the store gives back with other bytes, or not at all."""
    same: list[Transfer] = []
    unread = 0
    # Those that have failed before come last, and are in the way of none.
    for row in sorted(reading.found, key=lambda row: row.attempts):
        if row.sha256 and row.reason == TransferReason.COMPARED:
            same.append(row)
            reading.compared[row.id] = row.sha256
            reading.remembered.add(row.id)
            continue
        if not _is_compared(destination.verify, row):
            same.append(row)
            continue
        if unread >= MOST_UNREAD_TOGETHER:
            reading.unread.append(row)
            continue
        uids = row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
        priority = Priority(row.priority)
        try:
            with destination.request_to_read(priority), destination.store.open(*uids) as pieces:
                limited = destination.read_within_limits(pieces, priority)
                theirs = digest_of(limited, row.size_bytes)
        except StoreError as error:
            if error.status in UNREADABLE:
                reading.missing.append(row)
            else:
                reading.fail([row], error)
                unread += 1
            continue
        unread = 0
        if theirs.sha256 is None:
            words = f"the store gives back more than {row.size_bytes} bytes"
            reading.different.append((row, words))
        elif theirs.sha256 == row.sha256:
            same.append(row)
            reading.compared[row.id] = theirs.sha256
        else:
            words = f"the store gives back {theirs.size_bytes} bytes with SHA-256 {theirs.sha256}"
            reading.different.append((row, words))
    reading.found = same


def _is_compared(verify: str, row: Transfer) -> bool:
    if row.may_be_other:  # that something is there under its UIDs proves nothing
        return True
    if verify == "Sample":
        return zlib.crc32(row.sop_instance_uid.encode()) % SAMPLE == 0
    return verify == "Bytes"
