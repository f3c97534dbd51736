"""Queues what is missing, or another, in a store; or missing in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from functools import partial

from orthanc_gcp.custody.audit.comparison import OVERWRITTEN
from orthanc_gcp.custody.audit.findings import Category, Finding, StudyResult
from orthanc_gcp.custody.audit.recorded import recorded
from orthanc_gcp.custody.intake.loop_guard import LoopGuard
from orthanc_gcp.custody.intake.rules import arrival_of
from orthanc_gcp.custody.intake.selection import MOST_UNREADABLE, remember_unreadable
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import Description, OrthancSource

__all__ = ["Repair"]

_PORTION = 200


class Repair:
    """Queues only what Orthanc has now; what is superseded or in quarantine needs a person.

    Parameters
    ----------
    source
        What the ledger calls the index of this Orthanc.
    since
        What it has received before that is for the backfill, which has hours and limits of its own.
    """

    def __init__(
        self, ledger: Ledger, orthanc: OrthancSource, source: str, since: float = 0
    ) -> None:
        self._ledger, self._orthanc, self._source = ledger, orthanc, source
        self._guard = LoopGuard(ledger, orthanc)
        self._since = int(since)

    def queue(self, result: StudyResult, beside: Sequence[StudyResult] = ()) -> int:
        """Queue what is missing of a study at an account; how many transfers that makes.

        What is new to the ledger is queued for each account that the rules want it for: with a row
        of one of them, no comparison of Orthanc with the ledger would look for the others.

        Parameters
        ----------
        beside
            What came of the same study at each account.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now; what was queued before is sent.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away; what was queued before is sent.
        """
        if result.account is None:
            return 0
        there = [one for one in result.findings if one.in_orthanc]
        confirmations = self._ledger.confirmations
        queued = confirmations.requeue_lost(_rows_of(there, Category.MISSING))
        queued += confirmations.requeue_different(_rows_of(there, Category.DIFFERENT))
        absent = _absent([result, *beside])
        files = {
            (result.account, one.orthanc_id): one.transfer.attachment_uuid
            for one in there
            if one.transfer is not None
        }
        record = partial(self._record, absent=absent, files=files)
        closed = {one.orthanc_id: {result.account} for one in there if _was_closed(one)}
        queued += record(closed, demanded=True)
        # What was written down meanwhile is not to be sent twice.
        new = [one for one in there if one.transfer is None and _is_unrecorded(one)]
        new += [one for one in there if one.reason == OVERWRITTEN]
        readable = [one for one in new if one.accounts is not None]
        queued += record(self._wanted(result.account, readable), demanded=False)
        unreadable = {one.orthanc_id: {result.account} for one in new if one.accounts is None}
        try:
            if unreadable:
                remember_unreadable(self._ledger, self._source, list(unreadable), MOST_UNREADABLE)
        finally:  # what this account lacks is known all the same
            queued += record(unreadable, demanded=False)
        return queued

    def _wanted(self, account: str, new: Sequence[Finding]) -> dict[str, set[str]]:
        """For whom instances are written down: this account, and others that have no row of one."""
        wanted = {one.orthanc_id: {account, *(one.accounts or ())} for one in new}
        others = {name for accounts in wanted.values() for name in accounts} - {account}
        if others:
            rows = recorded(self._ledger, new[0].uids.study_instance_uid)
            for other in others:
                for name in wanted.keys() & rows.names(other, self._source):
                    wanted[name].discard(other)
        return wanted

    def _record(
        self,
        wanted: Mapping[str, Set[str]],
        *,
        absent: Set[tuple[str, str]],
        files: Mapping[tuple[str, str], str],
        demanded: bool,
    ) -> int:
        """Write down what Orthanc has by now, in the place of what the audit has seen.

        Parameters
        ----------
        files
            The UUIDs of the files that the audit has seen in the ledger, by account and Orthanc's
            identifier.
        """
        names, queued = list(wanted), 0
        for start in range(0, len(names), _PORTION):
            arrivals = [
                replace(
                    arrival_of(one, self._source, account, priority=self._priority(one, demanded)),
                    instead_of=files.get((account, one.orthanc_id), ""),
                )
                for one in self._orthanc.describe(names[start : start + _PORTION])
                for account in sorted(wanted[one.orthanc_id])
            ]
            # What came from the store once, and is not there now, is sent.
            missing = [one for one in arrivals if (one.account, one.orthanc_id) in absent]
            others = [one for one in arrivals if (one.account, one.orthanc_id) not in absent]
            known = self._guard.recognize(others)
            unsent = [one for one in known if one.retrieved_sha256 is None]
            queued += self._ledger.arrivals.record([*missing, *unsent], other_versions=True)
            # What is to be sent comes first: if this is not written down, nothing stays unsent.
            there = [one for one in known if one.retrieved_sha256 is not None]
            self._ledger.arrivals.record(there, other_versions=True)
        return queued

    def _priority(self, one: Description, demanded: bool) -> Priority:
        if demanded:
            return Priority.DEMANDED
        return Priority.BACKFILL if one.received_at < self._since else Priority.LIVE


def _absent(results: Sequence[StudyResult]) -> set[tuple[str, str]]:
    """What the stores of accounts do not have: each with Orthanc's identifier."""
    return {
        (result.account, one.orthanc_id)
        for result in results
        if result.account is not None
        for one in result.findings
        if one.in_orthanc and not one.in_store
    }


def _rows_of(found: Sequence[Finding], category: Category) -> list[Transfer]:
    return [one.transfer for one in found if one.category is category and one.transfer is not None]


def _is_unrecorded(finding: Finding) -> bool:
    return finding.category is Category.NOT_IN_LEDGER


def _was_closed(finding: Finding) -> bool:
    """Whether the ledger has given up what Orthanc has again, or has it for another store."""
    if finding.category is Category.FORMER_STORE:
        return True
    lost = finding.category in (Category.NOT_IN_LEDGER, Category.LOST)
    return lost and finding.transfer is not None
