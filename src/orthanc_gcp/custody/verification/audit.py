"""Compares what the ledger says a store has with what the store has now.

The store is searched for the instances of a study (QIDO-RS, PS3.18 §10.6), and each is retrieved
where its bytes are to be compared, too (WADO-RS, §10.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sql

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.backoff import Backoff
from orthanc_gcp.custody.verification.digest import digest_of
from orthanc_gcp.custody.verification.read_back import SEARCH_LAG
from orthanc_gcp.dicomweb import DicomStore, StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.studies import AccountStudy, all_studies
from orthanc_gcp.reasons import StoreReason

__all__ = ["READERS", "Audit", "AuditedStore", "DifferentBytes", "StudyAudit"]

TRIES = 6
"""How often a store is asked before the audit of its account is given up."""
READERS = 4
"""Instances of one account that are read at once."""
_BACKOFF = Backoff(1.0, 30.0)
_PORTION = 64

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class AuditedStore:
    """The store of an account, as it is read.

    Attributes
    ----------
    wait_for_request
        Returns when the account's limit on requests allows one more.
    readers
        Instances that are read at once.
    """

    client: DicomStore
    wait_for_request: Callable[[], None]
    readers: int = READERS


@dataclass(frozen=True)
class DifferentBytes:
    """An instance that the store has with other bytes than those that were sent."""

    transfer: Transfer
    store_sha256: str


@dataclass(frozen=True)
class StudyAudit:
    """What came of one study at one account.

    Attributes
    ----------
    compared, bytes
        How many instances the store should have, and what they come to.
    missing
        Those that it does not have.
    extra
        SOP Instance UIDs that it has, and that the ledger does not know.
    """

    account: str
    study_instance_uid: str
    compared: int
    bytes: int
    missing: tuple[Transfer, ...] = ()
    different: tuple[DifferentBytes, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the store has anything else than the ledger says."""
        return bool(self.missing or self.different or self.extra)

    def unexplained(self, sent: Mapping[str, Transfer], known: Set[str]) -> StudyAudit:
        """The same with those differences only that what was sent meanwhile does not explain."""
        return replace(
            self,
            missing=tuple(row for row in self.missing if sent.get(row.sop_instance_uid) == row),
            different=tuple(
                one
                for one in self.different
                if sent.get(one.transfer.sop_instance_uid) == one.transfer
            ),
            extra=tuple(uid for uid in self.extra if uid not in known),
        )

    def as_json(self) -> dict[str, Any]:
        """The differences for programs."""
        return {
            "Account": self.account,
            "Study": self.study_instance_uid,
            "Compared": self.compared,
            "Missing": [row.sop_instance_uid for row in self.missing],
            "Different": [
                {
                    "Instance": one.transfer.sop_instance_uid,
                    "Sha256": one.transfer.sha256,
                    "StoreSha256": one.store_sha256,
                }
                for one in self.different
            ],
            "Extra": list(self.extra),
        }


class Audit:
    """Goes through studies one by one: as much memory as the UIDs of the largest need.

    Parameters
    ----------
    stores
        By account.
    contents
        Whether the bytes are compared, too, by their SHA-256.
    wait
        Sleeps for some seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        stores: Mapping[str, AuditedStore],
        tokens: TokenSource,
        wait: Callable[[float], object],
        *,
        contents: bool = False,
    ) -> None:
        self._ledger, self._stores, self._tokens = ledger, stores, tokens
        self._wait, self._contents = wait, contents

    def studies(self, selection: Selection) -> Iterator[AccountStudy]:
        """The studies that have such instances, by UID.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        return all_studies(self._ledger, selection)

    def compare(self, account: str, study: str) -> StudyAudit:
        """Compare a whole study, by its Study Instance UID.

        Instances that the store has acknowledged a moment ago may be missing in a search yet: they
        are left to the worker.

        Raises
        ------
        StoreError
            The store cannot be asked.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        store = self._stores[account]
        sent, known = self._sent(account, study)
        listed = self._listed(store, account, study)
        if sent.keys() - listed:
            # Pages shift while somebody stores or deletes: only what two lists lack is missing.
            listed |= self._listed(store, account, study)
        missing = [row for row in sent.values() if row.sop_instance_uid not in listed]
        different: list[DifferentBytes] = []
        if self._contents:
            present = [row for row in sent.values() if row.sop_instance_uid in listed]
            unreadable, different = self._compare_bytes(store, present)
            missing += unreadable
        found = StudyAudit(
            account,
            study,
            compared=len(sent),
            bytes=sum(row.size_bytes for row in sent.values()),
            missing=tuple(missing),
            different=tuple(different),
            extra=tuple(sorted(listed - known)),
        )
        return found.unexplained(*self._sent(account, study)) if found.differs else found

    def _sent(self, account: str, study: str) -> tuple[dict[str, Transfer], set[str]]:
        """What the store should have, by UID, and all UIDs that the ledger knows."""
        of = transfers.c
        columns = [of[name] for name in Transfer.__dataclass_fields__]
        query = (
            sql.select(*columns, of.acknowledged_at)
            .where(
                of.study_instance_uid == study,
                of.destination_id == self._ledger.destinations.find(account),
            )
            .order_by(of.acknowledged_at)
        )
        old = self._ledger.now() - SEARCH_LAG
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

    def _listed(self, store: AuditedStore, account: str, study: str) -> set[str]:
        def search() -> set[str]:
            return {found.sop_instance_uid for found in store.client.instances(study)}

        try:
            return self._ask(store, account, search)
        except StoreError as error:
            if error.reason == StoreReason.UID:  # what cannot be asked for was never sent
                return set()
            raise

    def _compare_bytes(
        self, store: AuditedStore, present: Sequence[Transfer]
    ) -> tuple[list[Transfer], list[DifferentBytes]]:
        """Those that the store has no more, and those of other bytes; a few are read at once."""
        missing: list[Transfer] = []
        different: list[DifferentBytes] = []
        with ThreadPoolExecutor(store.readers) as pool:
            for start in range(0, len(present), _PORTION):
                some = present[start : start + _PORTION]
                digests = pool.map(partial(self._sha256, store), some)
                for row, theirs in zip(some, digests, strict=True):
                    if theirs is None:
                        missing.append(row)
                    elif theirs != row.sha256:
                        different.append(DifferentBytes(row, theirs))
        return missing, different

    def _sha256(self, store: AuditedStore, row: Transfer) -> str | None:
        """The SHA-256 of what the store has; None when it has it no more."""

        def read() -> str:
            with store.client.open(
                row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
            ) as pieces:
                return digest_of(pieces).sha256

        try:
            return self._ask(store, row.account, read)
        except StoreError as error:
            if error.status == 404:
                return None
            raise

    def _ask(self, store: AuditedStore, account: str, question: Callable[[], Answer]) -> Answer:
        """Ask the store, again if need be."""
        for tries in range(1, TRIES):
            store.wait_for_request()
            try:
                return question()
            except StoreError as error:
                if error.status == 401:
                    self._tokens.renew(account)
                elif not error.retryable:
                    raise
                pause = error.retry_after
            self._wait(_BACKOFF.delay(tries) if pause is None else pause)
        store.wait_for_request()
        return question()
