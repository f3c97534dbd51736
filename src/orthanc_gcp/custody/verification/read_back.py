"""Reads back what the store has: only what was seen there is confirmed."""

from __future__ import annotations

import logging
import random
import zlib
from collections.abc import Callable, Mapping

from orthanc_gcp.custody.destinations.destination import INSTANCE_BACKOFF, Destination
from orthanc_gcp.custody.verification.conflict import digest_of
from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.ledger import Ledger, Outcome, Transfer
from orthanc_gcp.ledger.schema import State

__all__ = ["ReadBack"]

_log = logging.getLogger(__name__)

FEW = 4
"""Up to so many instances are searched one by one; more by listing their series."""
TOGETHER = 200
"""So many instances that were seen are confirmed in one transaction."""
PATIENCE = 30.0
"""Seconds that a search may lag behind; what is still missing then is sent again."""
SHORTEST_WAIT, LONGEST_WAIT = 0.3, 10.0
UNREADABLE = (404, 500)
"""Statuses of an instance that a search finds and the store cannot give back."""
SAMPLE = 20
"""``Sample`` compares the bytes of one instance out of so many."""


class ReadBack:
    """Looks at the store for the instances that it has acknowledged."""

    def __init__(
        self,
        ledger: Ledger,
        destinations: Mapping[str, Destination],
        stopping: Callable[[], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ledger, self._destinations = ledger, destinations
        self._stopping, self._luck = stopping, jitter

    def confirm(self, account: str, series: list[str]) -> None:
        """Confirm what the store has of these series, once nothing of them is on its way."""
        destination = self._destinations.get(account)
        if destination is None:
            return
        seen: dict[int, float] = {}
        for uid in self._ledger.complete(account, series):
            if self._stopping():
                break
            try:
                seen |= self._look(destination, uid)
            except StoreError as error:
                destination.pace.unreadable(error)
                waiting = [row.id for row in self._ledger.acknowledged(account, uid)]
                self._ledger.look_again(waiting, self._ledger.now() + LONGEST_WAIT / 2)
            if len(seen) >= TOGETHER:
                self._ledger.confirm(seen)
                seen = {}
        self._ledger.confirm(seen)

    def _look(self, destination: Destination, series: str) -> dict[int, float]:
        """The rows of a series that the store has, each with the time from which that holds."""
        began, asked = self._ledger.now(), destination.pace.now
        rows = self._ledger.acknowledged(destination.account, series)
        if not rows:
            return {}
        present = self._present(destination, rows)
        seen = [row for row in rows if row.sop_instance_uid in present]
        different, unread = self._compare(destination, seen)
        destination.pace.read_back(asked)
        doubtful = {verdict.id for verdict in different} | {row.id for row in unread}
        if different:
            self._ledger.send_again(different)
        missing = [row for row in rows if row.sop_instance_uid not in present] + unread
        if missing:
            self._wait_for(missing)
        return {row.id: began for row in seen if row.id not in doubtful}

    def _present(self, destination: Destination, rows: list[Transfer]) -> set[str]:
        store, study, series = (
            destination.store,
            rows[0].study_instance_uid,
            rows[0].series_instance_uid,
        )
        if len(rows) > FEW:
            destination.request()
            return set(store.instances(study, series))
        found: set[str] = set()
        for row in rows:
            destination.request()
            found.update(
                store.instances(
                    row.study_instance_uid, row.series_instance_uid, instance=row.sop_instance_uid
                )
            )
        return found

    def _wait_for(self, missing: list[Transfer]) -> None:
        """Searches lag behind: look again for a while, then send again."""
        now = self._ledger.now()
        times = self._ledger.acknowledged_at([row.id for row in missing])
        gone = [row for row in missing if now - times.get(row.id, now) > PATIENCE]
        again = [row for row in missing if now - times.get(row.id, now) <= PATIENCE]
        if gone:
            _log.error(
                "account %s: the store acknowledged %d instances of series %s and does not have "
                "them; they are sent again",
                gone[0].account,
                len(gone),
                gone[0].series_instance_uid,
            )
            words = "the store acknowledged it, and a search did not find it"
            self._ledger.send_again([self._again(row, "missing", words) for row in gone])
        if again:
            elapsed = now - min(times.get(row.id, now) for row in again)
            wait = min(LONGEST_WAIT, max(SHORTEST_WAIT, elapsed / 2))
            self._ledger.look_again([row.id for row in again], now + wait)

    def _again(self, row: Transfer, reason: str, words: str) -> Outcome:
        due = self._ledger.now() + INSTANCE_BACKOFF.delay(row.attempts + 1, self._luck)
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
        self, destination: Destination, seen: list[Transfer]
    ) -> tuple[list[Outcome], list[Transfer]]:
        """Those whose bytes in the store are not the ones sent, and those it cannot give back."""
        different: list[Outcome] = []
        unread: list[Transfer] = []
        for row in seen:
            if not _is_compared(destination.verify, row):
                continue
            destination.request()
            try:
                with destination.store.open(
                    row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
                ) as pieces:
                    theirs, size, _ = digest_of(pieces)
            except StoreError as error:
                if error.status not in UNREADABLE:  # it says nothing about this instance
                    raise
                unread.append(row)
                continue
            if theirs != row.sha256:
                words = f"the store gives back {size} bytes with SHA-256 {theirs}"
                different.append(self._again(row, "different", words))
        return different, unread


def _is_compared(verify: str, row: Transfer) -> bool:
    if verify == "Sample":
        return zlib.crc32(row.sop_instance_uid.encode()) % SAMPLE == 0
    return verify == "Bytes"
