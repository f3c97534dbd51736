"""Reads back what the store has: only what was seen there is confirmed.

What a store acknowledges in the answer to a store transaction (PS3.18 §10.5) is searched for by all
three UIDs (§10.6), and retrieved where its bytes are to be compared, too (§10.4).
"""

from __future__ import annotations

import logging
import random
import zlib
from collections.abc import Callable, Mapping, Sequence

from orthanc_gcp.custody.destinations.destination import INSTANCE_BACKOFF, Destination
from orthanc_gcp.custody.verification.digest import digest_of
from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome, Transfer
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.reasons import TransferReason

__all__ = ["SEARCH_LAG", "ReadBack"]

_log = logging.getLogger(__name__)

FEW = 4
"""Up to so many instances are searched one by one; more by listing their series."""
CONFIRMED_AT_ONCE = 200
"""So many instances that were seen are confirmed in one transaction."""
SEARCH_LAG = 30.0
"""Seconds that a search may lag behind; what is still missing then is sent again."""
SHORTEST_WAIT, LONGEST_WAIT = 0.3, 10.0
UNREADABLE = (404, 500)
"""Statuses of an instance that a search finds and the store cannot give back."""
SAMPLE = 20
"""``Sample`` compares the bytes of one instance out of so many."""


class ReadBack:
    """Searches the stores for the instances that they have acknowledged.

    Parameters
    ----------
    stopping
        Whether the worker stops.
    """

    def __init__(
        self,
        ledger: Ledger,
        destinations: Mapping[str, Destination],
        stopping: Callable[[], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ledger, self._destinations = ledger, destinations
        self._stopping, self._jitter = stopping, jitter

    def confirm(self, account: str, series: list[str]) -> None:
        """Confirm what the store has of these series, once nothing of them is on its way.

        A store that cannot be read is asked again later.

        Parameters
        ----------
        series
            Series Instance UIDs.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away: what was seen is not confirmed, and is searched for again.
        """
        destination = self._destinations.get(account)
        if destination is None:
            return
        seen: dict[int, float] = {}
        for uid in self._ledger.confirmations.fully_sent(account, series):
            if self._stopping():
                break
            try:
                seen |= self._seen(destination, uid)
            except StoreError as error:
                destination.congestion.read_failed(error)
                waiting = [row.id for row in self._ledger.confirmations.acknowledged(account, uid)]
                self._ledger.confirmations.postpone(waiting, self._ledger.now() + LONGEST_WAIT / 2)
            if len(seen) >= CONFIRMED_AT_ONCE:
                self._ledger.confirmations.confirm(seen)
                seen = {}
        self._ledger.confirmations.confirm(seen)

    def _seen(self, destination: Destination, series: str) -> dict[int, float]:
        """The rows of a series that the store has, each with the time from which that holds."""
        began, asked = self._ledger.now(), destination.congestion.now
        rows = self._ledger.confirmations.acknowledged(destination.account, series)
        if not rows:
            return {}
        present = _present(destination, rows)
        found = [row for row in rows if row.sop_instance_uid in present]
        different, unreadable = self._compare(destination, found)
        destination.congestion.read_succeeded(asked)
        if different:
            self._ledger.confirmations.requeue_missing(different)
        missing = [row for row in rows if row.sop_instance_uid not in present] + unreadable
        if missing:
            self._search_or_send_again(missing)
        doubtful = {outcome.id for outcome in different} | {row.id for row in unreadable}
        return {row.id: began for row in found if row.id not in doubtful}

    def _search_or_send_again(self, missing: list[Transfer]) -> None:
        """Searches lag behind: search again for a while, then send again."""
        now = self._ledger.now()
        times = self._ledger.confirmations.acknowledged_at([row.id for row in missing])
        gone = [row for row in missing if now - times.get(row.id, now) > SEARCH_LAG]
        again = [row for row in missing if now - times.get(row.id, now) <= SEARCH_LAG]
        if gone:
            _log.error(
                "account %s: the store acknowledged %d instances of series %s and does not have "
                "them; they are sent again",
                gone[0].account,
                len(gone),
                gone[0].series_instance_uid,
            )
            words = "the store acknowledged it, and a search did not find it"
            self._ledger.confirmations.requeue_missing(
                [self._sent_again(row, TransferReason.MISSING, words) for row in gone]
            )
        if again:
            elapsed = now - min(times.get(row.id, now) for row in again)
            wait = min(LONGEST_WAIT, max(SHORTEST_WAIT, elapsed / 2))
            self._ledger.confirmations.postpone([row.id for row in again], now + wait)

    def _sent_again(self, row: Transfer, reason: str, words: str) -> Outcome:
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
        )

    def _compare(
        self, destination: Destination, found: Sequence[Transfer]
    ) -> tuple[list[Outcome], list[Transfer]]:
        """Those whose bytes in the store are not the ones sent, and those it cannot give back."""
        different: list[Outcome] = []
        unreadable: list[Transfer] = []
        for row in found:
            if not _is_compared(destination.verify, row):
                continue
            destination.wait_for_request()
            try:
                with destination.store.open(
                    row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
                ) as pieces:
                    theirs = digest_of(pieces)
            except StoreError as error:
                if error.status not in UNREADABLE:  # it says nothing about this instance
                    raise
                unreadable.append(row)
                continue
            if theirs.sha256 != row.sha256:
                words = (
                    f"the store gives back {theirs.size_bytes} bytes with SHA-256 {theirs.sha256}"
                )
                different.append(self._sent_again(row, TransferReason.DIFFERENT, words))
        return different, unreadable


def _present(destination: Destination, rows: Sequence[Transfer]) -> set[str]:
    """The SOP Instance UIDs that the store has of a series, of some rows at least."""
    store = destination.store
    if len(rows) > FEW:
        destination.wait_for_request()
        return set(store.instances(rows[0].study_instance_uid, rows[0].series_instance_uid))
    found: set[str] = set()
    for row in rows:
        destination.wait_for_request()
        found.update(
            store.instances(
                row.study_instance_uid, row.series_instance_uid, instance=row.sop_instance_uid
            )
        )
    return found


def _is_compared(verify: str, row: Transfer) -> bool:
    if row.reason == TransferReason.COMPARED:  # a moment ago, when the store had refused it
        return False
    if verify == "Sample":
        return zlib.crc32(row.sop_instance_uid.encode()) % SAMPLE == 0
    return verify == "Bytes"
