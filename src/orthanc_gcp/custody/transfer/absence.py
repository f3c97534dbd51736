"""What becomes of an instance that Orthanc does not have when it is to be sent.

That Orthanc answers 404 proves no deletion: a volume may not be mounted yet, another index may
have taken its place. Orthanc's ``/changes`` do not report deletions either. So an instance is
withdrawn only when it was absent twice, some minutes apart, from the index that it was received by.
Where Orthanc recycles, and it was not protected from that all the time, nobody may have deleted it:
then it is lost. So it is where the index was restored from a backup of before it was received.
"""

from __future__ import annotations

from collections.abc import Callable

from orthanc_gcp.custody.outcomes import ABSENT_FOR, quarantined, requeued
from orthanc_gcp.ledger.rows import Outcome, Transfer
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.reasons import TransferReason

__all__ = ["of_absent"]


def of_absent(
    row: Transfer,
    now: float,
    is_its_index: Callable[[str], bool],
    may_be_recycled: Callable[[Transfer, float], bool] = lambda _row, _since: False,
    was_undone: Callable[[str, float], bool] = lambda _source, _received_at: False,
) -> Outcome:
    """What becomes of an instance that Orthanc does not have just now.

    Parameters
    ----------
    now
        Seconds since 1970, UTC.
    is_its_index
        Whether Orthanc has the index, just now, that the ledger calls so.
    may_be_recycled
        Whether Orthanc may have deleted it by itself; with the moment since which it was absent.
    was_undone
        Whether the index was restored from a backup of before it has received something then.

    Raises
    ------
    OrthancError
        Orthanc cannot be asked for its index.
    """
    since = now if row.absent_since is None else min(row.absent_since, now)
    if not is_its_index(row.source):
        return _absent(row, None, now, "Orthanc has another index: it is waited for")
    if now - since < ABSENT_FOR:
        return _absent(row, since, now, "Orthanc does not have it: it is looked for once more")
    if row.sha256 is not None:
        words = "the store acknowledged it and lost it, and Orthanc has deleted it"
        return quarantined(row, TransferReason.LOST, words, row.sha256)
    if was_undone(row.source, row.received_at):
        words = "Orthanc's index was restored from a backup of before it was received"
        return _lost(row, TransferReason.RESTORED, since, words)
    if may_be_recycled(row, since):
        words = "Orthanc does not have it any more, and may have recycled it before it was sent"
        return _lost(row, TransferReason.RECYCLED, since, words)
    words = "it was deleted in Orthanc before it was sent"
    return Outcome(row.id, State.WITHDRAWN, TransferReason.DELETED, words, attempts=row.attempts)


def _lost(row: Transfer, reason: TransferReason, since: float, words: str) -> Outcome:
    # It stays written down since when: that it is asked for again by hand changes nothing.
    return Outcome(row.id, State.LOST, reason, words, attempts=row.attempts, absent_since=since)


def _absent(row: Transfer, since: float | None, now: float, words: str) -> Outcome:
    return requeued(
        row,
        state=State.DELAYED,
        reason=TransferReason.ABSENT,
        detail=words,
        absent_since=since,
        next_attempt_at=now + ABSENT_FOR,
    )
