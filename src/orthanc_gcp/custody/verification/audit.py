"""Compares what the ledger says a store has with what the store has now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sql

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.backoff import Backoff
from orthanc_gcp.custody.reporting.overview import Reports
from orthanc_gcp.custody.verification.conflict import digest_of
from orthanc_gcp.custody.verification.read_back import PATIENCE
from orthanc_gcp.dicomweb import DicomStore, StoreError
from orthanc_gcp.ledger.ledger import Ledger, Transfer
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.selection import Selection

__all__ = ["READERS", "Audit", "Findings", "Shelf"]

TRIES = 6
"""How often a store is asked before the comparison of its account is given up."""
READERS = 4
"""Instances of one account that are read at once."""
_BACKOFF = Backoff(1.0, 30.0)
_PORTION = 64

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Shelf:
    """An account as a place to look into."""

    store: DicomStore
    request: Callable[[], None]
    """Waits for its turn under the cap on requests."""
    readers: int = READERS


@dataclass
class Findings:
    """What came of one study at one account; instances by SOP Instance UID."""

    account: str
    study: str
    compared: int = 0
    size: int = 0
    missing: list[Transfer] = field(default_factory=list)
    different: list[tuple[Transfer, str]] = field(default_factory=list)
    """Each with the SHA-256 of what the store has."""
    extra: list[str] = field(default_factory=list)

    @property
    def differ(self) -> bool:
        """Whether the store has anything else than the ledger says."""
        return bool(self.missing or self.different or self.extra)

    def keep(self, sent: Mapping[str, Transfer], known: Set[str]) -> None:
        """Only the differences that what was sent meanwhile does not explain."""
        self.missing = [row for row in self.missing if sent.get(row.sop_instance_uid) == row]
        self.different = [
            one for one in self.different if sent.get(one[0].sop_instance_uid) == one[0]
        ]
        self.extra = [uid for uid in self.extra if uid not in known]

    def as_json(self) -> dict[str, Any]:
        """The differences for programs."""
        return {
            "Account": self.account,
            "Study": self.study,
            "Compared": self.compared,
            "Missing": [row.sop_instance_uid for row in self.missing],
            "Different": [
                {"Instance": row.sop_instance_uid, "Sha256": row.sha256, "StoreSha256": theirs}
                for row, theirs in self.different
            ],
            "Extra": self.extra,
        }


class Audit:
    """Goes through studies one by one: as much memory as the UIDs of the largest need.

    Parameters
    ----------
    shelves
        Account -> where to look.
    contents
        Whether the bytes are compared, too, by their SHA-256.
    wait
        Sleeps for some seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        shelves: Mapping[str, Shelf],
        tokens: TokenSource,
        wait: Callable[[float], object],
        *,
        contents: bool = False,
    ) -> None:
        self._ledger, self._shelves, self._tokens = ledger, shelves, tokens
        self._wait, self._contents = wait, contents

    def studies(self, selection: Selection) -> Iterator[tuple[str, str]]:
        """Account and UID of the studies that have such instances, by UID."""
        reports, after = Reports(self._ledger), ""
        while True:
            page, following = reports.studies(selection, after)
            for study in page:
                yield study["Account"], study["Study"]
            if following is None:
                return
            after = following

    def compare(self, account: str, study: str) -> Findings:
        """Compare a whole study.

        Instances that the store has acknowledged a moment ago may be missing in a search yet: they
        are left to the worker.

        Raises
        ------
        StoreError
            The store cannot be asked.
        """
        shelf = self._shelves[account]
        sent, known = self._sent(account, study)
        listed = self._ask(shelf, account, partial(_listed, shelf.store, study))
        if sent.keys() - listed:
            # Pages shift while somebody stores or deletes: only what two lists lack is missing.
            listed |= self._ask(shelf, account, partial(_listed, shelf.store, study))
        found = Findings(account, study, extra=sorted(listed - known))
        present = [row for row in sent.values() if row.sop_instance_uid in listed]
        found.missing = [row for row in sent.values() if row.sop_instance_uid not in listed]
        if self._contents:
            self._read(shelf, present, found)
        found.compared = len(sent)
        found.size = sum(row.size_bytes for row in sent.values())
        if found.differ:
            found.keep(*self._sent(account, study))
        return found

    def _sent(self, account: str, study: str) -> tuple[dict[str, Transfer], set[str]]:
        """What the store should have, by UID, and all UIDs that the ledger knows."""
        of = transfers.c
        columns = [of[name] for name in Transfer.__dataclass_fields__]
        query = (
            sql.select(*columns, of.acknowledged_at)
            .where(of.study_instance_uid == study, of.account == account)
            .order_by(of.acknowledged_at)
        )
        old = self._ledger.now() - PATIENCE
        sent: dict[str, Transfer] = {}
        known: set[str] = set()
        with self._ledger.reading() as connection:
            for *values, acknowledged in connection.execute(query):
                row = Transfer(*values)
                known.add(row.sop_instance_uid)
                # Of an instance that several Orthancs have sent, the store has the last.
                if row.state == State.CONFIRMED or (
                    row.state == State.ACKNOWLEDGED and acknowledged < old
                ):
                    sent[row.sop_instance_uid] = row
        return sent, known

    def _read(self, shelf: Shelf, present: Sequence[Transfer], found: Findings) -> None:
        """Compare the bytes; a few at a time."""
        with ThreadPoolExecutor(shelf.readers) as pool:
            for start in range(0, len(present), _PORTION):
                some = present[start : start + _PORTION]
                for row, theirs in zip(
                    some, pool.map(partial(self._digest, shelf), some), strict=True
                ):
                    if theirs is None:
                        found.missing.append(row)
                    elif theirs != row.sha256:
                        found.different.append((row, theirs))

    def _digest(self, shelf: Shelf, row: Transfer) -> str | None:
        """The SHA-256 of what the store has; None when it has it no more."""

        def read() -> str:
            with shelf.store.open(
                row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
            ) as pieces:
                return digest_of(pieces)[0]

        try:
            return self._ask(shelf, row.account, read)
        except StoreError as error:
            if error.status == 404:
                return None
            raise

    def _ask(self, shelf: Shelf, account: str, question: Callable[[], Answer]) -> Answer:
        """Ask the store, again if need be."""
        for tries in range(1, TRIES):
            shelf.request()
            try:
                return question()
            except StoreError as error:
                if error.status == 401:
                    self._tokens.renew(account)
                elif not error.retryable:
                    raise
                pause = error.retry_after
            self._wait(_BACKOFF.delay(tries) if pause is None else pause)
        shelf.request()
        return question()


def _listed(store: DicomStore, study: str) -> set[str]:
    return set(store.instances(study))
