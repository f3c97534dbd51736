"""What becomes of one instance after an attempt that did not end with it in the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orthanc_gcp.ledger.rows import Outcome, Transfer
from orthanc_gcp.ledger.schema import State

__all__ = [
    "ABSENT_FOR",
    "BISECT_AFTER",
    "most_together",
    "quarantined",
    "report_losses",
    "requeued",
]

_log = logging.getLogger(__name__)

BISECT_AFTER = 3
"""Attempts after which instances that fail together are sent apart, to find the one at fault."""
ABSENT_FOR = 120.0
"""Seconds that something must have been absent from Orthanc before it is taken for deleted."""


def requeued(row: Transfer, **changes: Any) -> Outcome:
    """Back to the queue as it was before the attempt, but for what was learnt.

    Parameters
    ----------
    changes
        Fields of the outcome.
    """
    before = Outcome(
        row.id,
        State.WAITING,
        row.reason,
        sha256=row.sha256,
        max_batch_instances=row.max_batch_instances,
        replace=row.replace,
        attempts=row.attempts,
        absent_since=row.absent_since,
    )
    return replace(before, **changes)


def most_together(row: Transfer, attempts: int, together: int) -> int | None:
    """How many instances may be in the next batch with it: half, once they have failed often.

    Parameters
    ----------
    attempts
        So many have failed by now.
    together
        So many instances were in the last one.
    """
    if attempts < BISECT_AFTER:
        return row.max_batch_instances
    return min(row.max_batch_instances or together, max(1, (together + 1) // 2))


def quarantined(row: Transfer, reason: str, detail: str, sha256: str | None) -> Outcome:
    """It needs a person, and the log says so.

    Parameters
    ----------
    sha256
        Of the bytes that were read; None where they were not read to their end.
    """
    _log.error(
        "account %s: instance %s is in quarantine (%s): %s",
        row.account,
        row.sop_instance_uid,
        reason,
        detail,
    )
    return Outcome(
        row.id,
        State.QUARANTINED,
        reason,
        detail,
        sha256=sha256,
        replace=row.replace,
        attempts=row.attempts + 1,
    )


def report_losses(lost: Mapping[tuple[str, str], int]) -> None:
    """Instances that are not in Orthanc any more, unsent: the log says so for each study.

    Parameters
    ----------
    lost
        (account, Study Instance UID) -> how many instances.
    """
    for (account, study), count in lost.items():
        _log.error(
            "account %s: %d instances of study %s are lost: Orthanc does not have them any more, "
            "and they were not protected from its recycling, or its index was restored from a "
            "backup of before (orthanc-gcp losses shows them)",
            account,
            count,
            study,
        )
