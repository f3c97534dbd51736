"""Queues what is missing, or another, in a store; or missing in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from orthanc_gcp.custody.audit.comparison import OVERWRITTEN
from orthanc_gcp.custody.audit.findings import Category, Finding, StudyResult
from orthanc_gcp.custody.intake.loop_guard import LoopGuard
from orthanc_gcp.custody.intake.rules import arrival_of
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

    def queue(self, result: StudyResult) -> int:
        """Queue what is missing of a study at an account; how many instances that were.

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
        closed = [one for one in there if _was_closed(one)]
        queued += self._record(result.account, closed, demanded=True)
        # What was written down meanwhile is not to be sent twice.
        new = [one for one in there if one.transfer is None and _is_unrecorded(one)]
        new += [one for one in there if one.reason == OVERWRITTEN]
        return queued + self._record(result.account, new, demanded=False)

    def _record(self, account: str, found: Sequence[Finding], *, demanded: bool) -> int:
        names, queued = [one.orthanc_id for one in found], 0
        listed = {one.orthanc_id for one in found if one.in_store}
        for start in range(0, len(names), _PORTION):
            arrivals = [
                arrival_of(one, self._source, account, priority=self._priority(one, demanded))
                for one in self._orthanc.describe(names[start : start + _PORTION])
            ]
            # What came from the store once, and is not there now, is sent.
            missing = [one for one in arrivals if one.orthanc_id not in listed]
            known = self._guard.recognize([one for one in arrivals if one.orthanc_id in listed])
            unsent = [one for one in known if one.retrieved_sha256 is None]
            queued += self._ledger.arrivals.record([*missing, *unsent], other_versions=True)
            there = [one for one in known if one.retrieved_sha256 is not None]
            self._ledger.arrivals.record(there, other_versions=True)
        return queued

    def _priority(self, one: Description, demanded: bool) -> Priority:
        if demanded:
            return Priority.DEMANDED
        return Priority.BACKFILL if one.received_at < self._since else Priority.LIVE


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
