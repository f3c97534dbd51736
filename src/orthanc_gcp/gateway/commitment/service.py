"""Storage commitment: takes requests into the ledger, waits for the store, and reports."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.errors import GcpError, LedgerError, OrthancError, StoreError
from orthanc_gcp.gateway.commitment.judgement import (
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    Judge,
    Verdict,
)
from orthanc_gcp.gateway.commitment.report import Reporter, ReportError
from orthanc_gcp.gateway.commitment.request import (
    INVALID_ARGUMENT,
    RESOURCE_LIMITATION,
    RequestError,
    read_request,
)
from orthanc_gcp.gateway.commitment.status import OpenCommitments
from orthanc_gcp.gateway.peers import Peers, printable_aet
from orthanc_gcp.ledger.commitments.commitments import Request
from orthanc_gcp.ledger.commitments.rows import CommitmentRow, ReferenceRow, Transaction
from orthanc_gcp.ledger.database import make_private, words_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import CommitmentState
from orthanc_gcp.ledger.upgrade import prepare, require_current
from orthanc_gcp.logs import places
from orthanc_gcp.orthanc.by_uid import can_be_asked_for, find_by_uid
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import LedgerReason

__all__ = ["Action", "CommitmentService"]

_log = logging.getLogger(__name__)

# PS3.7 annex C
SUCCESS, PROCESSING_FAILED, NOT_AUTHORIZED = 0x0000, 0x0110, 0x0124
NO_SUCH_ACTION, NO_SUCH_OBJECT = 0x0123, 0x0112
_ACTION = 1
_INSTANCE = "1.2.840.10008.1.20.1.1"
REPORTING = Backoff(10.0, 1800.0)
REPORTED_WITHIN = 120.0
"""Seconds in which an association has come to its end."""
MOST_REPORTS = 60
"""So a modality that is away is tried for a day."""
FIRST_LOOK, LONGEST_LOOK = 1.0, 30.0
"""Seconds until what is on its way is looked for again: a tenth of what it has waited, within
these."""
IDLE = 5.0
_AT_ONCE = 4
_STOPPED = "the gateway has been stopped"
_SHORTEST = 0.1
_REST_WITHIN = 2.0


@dataclass(frozen=True)
class Action:
    """An N-ACTION request (PS3.7 §10.1.4)."""

    instance_uid: str
    action_type: int
    information: bytes
    is_implicit: bool
    account: str
    calling: str
    called: str
    address: str


class CommitmentService:
    """Several threads may use it at once.

    Parameters
    ----------
    stores
        The store of each account.
    orthanc
        What may have instances that are not sent yet; None where it cannot be asked.
    timeout
        Seconds after which an instance is not waited for any more.
    """

    def __init__(
        self,
        ledger: Ledger,
        stores: Mapping[str, DicomStore],
        peers: Peers,
        reporter: Reporter,
        orthanc: OrthancRest | None,
        timeout: float,
        renew: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger, self._stores, self._peers = ledger, stores, peers
        self._reporter, self._orthanc, self._timeout = reporter, orthanc, timeout
        self._renew = renew
        self._stopping, self._work = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._is_prepared = False
        self._problem = ""
        self._threads = [
            threading.Thread(target=self._run, name="gcp-commitment", daemon=True)
            for _ in range(_AT_ONCE)
        ]

    def start(self) -> None:
        """Work at what was asked for, also before this process started."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what is not done is done by the next process."""
        self._stopping.set()
        self._work.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_REST_WITHIN / len(self._threads))
        self._ledger.engine.dispose()

    # -- N-ACTION ---------------------------------------------------------------------------------

    def __call__(self, action: Action) -> tuple[int, str]:
        """Take a request into the ledger: the status of the response, and why it is no success."""
        if action.instance_uid != _INSTANCE:
            return NO_SUCH_OBJECT, "this is not the well-known instance of the push model"
        if action.action_type != _ACTION:
            return NO_SUCH_ACTION, "there is no such action"
        if self._peers.commitment_modality(action.calling, action.address) is None:
            return NOT_AUTHORIZED, "it is no modality that a result can be reported to"
        try:
            request = read_request(action.information, action.is_implicit)
            self._prepare()
            taken = self._ledger.commitments.request(
                action.account,
                Transaction(request.transaction_uid, action.calling, action.called, action.address),
                request.references,
            )
        except RequestError as error:
            return error.status, str(error)
        except (LedgerError, SQLAlchemyError, OSError) as error:
            self._note(error)
            return PROCESSING_FAILED, "the ledger cannot be used just now"
        if taken is Request.ANOTHER:
            return INVALID_ARGUMENT, "this Transaction UID is of other instances"
        if taken is Request.FULL:
            return RESOURCE_LIMITATION, "too many requests have not ended"
        self._work.set()
        words = "storage commitment: %s asks for %d instances"
        _log.info(words, printable_aet(action.calling), len(request.references))
        return SUCCESS, ""

    def _prepare(self) -> None:
        """Make the ledger, where there is none yet."""
        with self._lock:
            if not self._is_prepared:
                make_private(self._ledger.engine)
                prepare(self._ledger.engine)
                self._is_prepared = True

    def _note(self, error: Exception) -> None:
        words = _words(error)
        with self._lock:  # all threads find it so at once, and one says so
            is_known = words == self._problem
            self._problem, self._is_prepared = words, False
        if not is_known:
            _log.error("storage commitment: the ledger cannot be used: %s", words)

    # -- What happens then ------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pause = self._step() if self._is_there() else IDLE
                if self._problem:
                    _log.warning("storage commitment: the ledger is used again")
                self._problem = ""
            except (LedgerError, SQLAlchemyError, OSError) as error:
                self._note(error)
                pause = IDLE
            except Exception as error:
                _log.error("storage commitment failed unexpectedly\n%s", places(error))
                pause = IDLE
            self._work.wait(pause)
            self._work.clear()

    def _is_there(self) -> bool:
        """Whether there is a ledger: without one, nobody has asked for anything."""
        if self._is_prepared:
            return True
        try:
            require_current(self._ledger.engine)
        except LedgerError as error:
            if error.reason == LedgerReason.NO_LEDGER:
                return False
            raise
        self._is_prepared = True
        return True

    def _step(self) -> float:
        """Work at a request that is due; seconds until the next one may be."""
        accounts = list(self._stores)
        due = self._ledger.commitments.next_due(accounts)
        if due is None:
            return IDLE
        claimed = self._ledger.commitments.claim(accounts, 1)
        for commitment in claimed:
            self._advance(commitment)
        left = max(_SHORTEST, due - self._ledger.now())
        return 0.0 if claimed else min(IDLE, left)

    def _advance(self, commitment: CommitmentRow) -> None:
        fresh = set[int]()
        if commitment.state == CommitmentState.WAITING:
            waits_for = self._judge(commitment, fresh)
            if waits_for:
                self._look_later(commitment, waits_for)
                return
            self._ledger.commitments.decide(commitment.id)
        if self._stopping.is_set():
            return
        try:
            waits_for = self._judge_again(commitment, fresh)
        except (StoreError, OrthancError) as error:
            self._not_reported(commitment, str(error))
            return
        if waits_for:
            self._look_later(commitment, waits_for)
        else:
            self._report(commitment)

    def _look_later(self, commitment: CommitmentRow, waits_for: str) -> None:
        now = self._ledger.now()
        waited = now - commitment.requested_at
        pause = min(LONGEST_LOOK, max(FIRST_LOOK, waited / 10))
        left = commitment.requested_at + self._timeout - now
        until = now + max(0.0, min(pause, left))
        self._ledger.commitments.postpone(commitment.id, until, detail=waits_for)

    def _judge(self, commitment: CommitmentRow, fresh: set[int]) -> str:
        """Settle what can be; what the rest is waited for, empty where there is none.

        Parameters
        ----------
        fresh
            Gets those that are settled.
        """
        judge, waits_for = self._judge_of(commitment), ""
        for rows in self._ledger.commitments.waiting(commitment.id):
            if self._stopping.is_set():
                return _STOPPED
            self._ledger.commitments.prolong(commitment.id)
            is_late = self._is_late(commitment)
            try:
                said = self._said(judge, commitment, rows)
            except (StoreError, OrthancError) as error:
                if not is_late:
                    return str(error)
                said = {row.id: PROCESSING_FAILURE for row in rows}
            settled, waits_for = _settled(said, is_late, waits_for)
            self._ledger.commitments.settle(settled)
            fresh |= settled.keys()
        return waits_for

    def _judge_again(self, commitment: CommitmentRow, fresh: Set[int]) -> str:
        """Judge what was committed before: another version may have been received since then.

        What is said when all the others have been waited for, or when a modality answers that was
        away, has to be true then.

        Returns
        -------
        str
            What is waited for now.

        Raises
        ------
        StoreError, OrthancError
            It cannot be known now; nothing has changed.
        """
        judge, waits_for = self._judge_of(commitment), ""
        for some in self._ledger.commitments.committed(commitment.id):
            rows = [row for row in some if row.id not in fresh]
            if not rows:
                continue
            if self._stopping.is_set():
                return _STOPPED
            self._ledger.commitments.prolong(commitment.id)
            said = self._said(judge, commitment, rows)
            settled, waits_for = _settled(said, self._is_late(commitment), waits_for)
            self._ledger.commitments.settle(settled)
            self._ledger.commitments.reopen(commitment.id, said.keys() - settled.keys())
        return waits_for

    def _judge_of(self, commitment: CommitmentRow) -> Judge:
        return Judge(
            self._stores[commitment.account],
            lambda uids: self._ledger.commitments.known(commitment.account, uids),
            self._in_orthanc,
        )

    def _said(
        self, judge: Judge, commitment: CommitmentRow, rows: Sequence[ReferenceRow]
    ) -> Mapping[int, Verdict | int]:
        try:
            return judge.judge(rows)
        except StoreError as error:
            if error.status == 401:
                self._renew(commitment.account)
            raise

    def _is_late(self, commitment: CommitmentRow) -> bool:
        waited = self._ledger.now() - commitment.requested_at
        return abs(waited) >= self._timeout  # a clock may have been set back

    def _in_orthanc(self, uids: Sequence[str]) -> Mapping[str, set[str]]:
        """Those of some instances that Orthanc has, and their files (``POST /tools/find``)."""
        found: dict[str, set[str]] = {}
        if self._orthanc is None:
            return found
        asked = list(filter(can_be_asked_for, uids))
        for one in find_by_uid(self._orthanc, "Instance", "SOPInstanceUID", asked):
            uid = str(one.get("MainDicomTags", {}).get("SOPInstanceUID", ""))
            found.setdefault(uid, set()).add(str(one.get("FileUuid", "")))
        return found

    def _report(self, commitment: CommitmentRow) -> None:
        commitments, aet = self._ledger.commitments, printable_aet(commitment.calling_aet)
        rows = commitments.settled(commitment.id)
        failed = sum(row.failure_reason is not None for row in rows)
        commitments.prolong(commitment.id, REPORTED_WITHIN)
        try:
            modality = self._peers.commitment_modality(commitment.calling_aet, commitment.address)
            self._reporter.report(commitment, rows, modality)
        except ReportError as error:
            self._not_reported(commitment, str(error))
        else:
            commitments.end(commitment.id, CommitmentState.REPORTED)
            words = "storage commitment was reported to %s: %d instances, and %d failures"
            _log.info(words, aet, len(rows) - failed, failed)

    def _not_reported(self, commitment: CommitmentRow, why: str) -> None:
        """Try again after a while, unless that was often enough."""
        commitments, aet = self._ledger.commitments, printable_aet(commitment.calling_aet)
        is_first = commitment.state == CommitmentState.WAITING
        attempts = 1 if is_first else commitment.attempts + 1
        words = "storage commitment cannot be reported to %s: %s"
        if attempts >= MOST_REPORTS:
            commitments.end(commitment.id, CommitmentState.GIVEN_UP, why)
            _log.error(words + "; it is given up", aet, why)
            return
        until = self._ledger.now() + REPORTING.delay(attempts)
        commitments.postpone(commitment.id, until, attempts, why)
        _log.warning(words, aet, why)

    def open(self) -> OpenCommitments:
        """The requests that have not ended."""
        commitments = self._ledger.commitments
        try:
            if not self._is_there():
                return OpenCommitments()
            return OpenCommitments(
                commitments.open_count(), tuple(commitments.shown()), self._problem or None
            )
        except (LedgerError, SQLAlchemyError, OSError) as error:
            return OpenCommitments(problem=_words(error))


def _settled(
    said: Mapping[int, Verdict | int], is_late: bool, waits_for: str
) -> tuple[dict[int, int | None], str]:
    """What some verdicts settle, and what is waited for after them."""
    settled: dict[int, int | None] = {}
    for number, verdict in said.items():
        if verdict is Verdict.COMMITTED:
            settled[number] = None
        elif not isinstance(verdict, Verdict):
            settled[number] = verdict
        elif is_late:
            on_its_way = verdict is Verdict.ON_ITS_WAY
            settled[number] = PROCESSING_FAILURE if on_its_way else NO_SUCH_INSTANCE
        else:
            waits_for = f"instances that are {verdict.value}"
    return settled, waits_for


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, GcpError) else words_of(error)
