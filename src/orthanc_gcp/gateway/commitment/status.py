"""The requests for storage commitment that have not ended, as people see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orthanc_gcp.gateway.peers import printable_aet
from orthanc_gcp.ledger.commitments.rows import CommitmentReport
from orthanc_gcp.ledger.schema import ReferenceState

__all__ = ["OpenCommitments"]


@dataclass(frozen=True)
class OpenCommitments:
    """So many there are, and some of them, the oldest first.

    Attributes
    ----------
    problem
        Why the ledger cannot be asked; None where it can.
    """

    count: int = 0
    oldest: tuple[CommitmentReport, ...] = ()
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As Orthanc's REST API shows them."""
        return {
            "Open": self.count,
            "Problem": self.problem,
            "Oldest": [_shown(one) for one in self.oldest],
        }


def _shown(report: CommitmentReport) -> dict[str, Any]:
    row, counts = report.row, report.counts
    requested = datetime.fromtimestamp(row.requested_at, UTC)
    return {
        "TransactionUid": row.transaction_uid,
        "Account": row.account,
        "CallingAet": printable_aet(row.calling_aet),
        "CalledAet": printable_aet(row.called_aet),
        "RequestedAt": requested.isoformat(timespec="seconds"),
        "State": row.state.capitalize(),
        "Reports": row.attempts,
        "Detail": row.detail,
        "Waiting": counts.get(ReferenceState.WAITING, 0),
        "Committed": counts.get(ReferenceState.COMMITTED, 0),
        "Failed": counts.get(ReferenceState.FAILED, 0),
    }
