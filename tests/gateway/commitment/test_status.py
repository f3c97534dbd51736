"""How open requests for storage commitment are shown."""

from __future__ import annotations

from orthanc_gcp.gateway.commitment.status import OpenCommitments
from orthanc_gcp.ledger.commitments.rows import CommitmentReport, CommitmentRow


def test_as_json():
    row = CommitmentRow(
        *(1, "a", "9.1", "CT\n", "GOOGLE", "192.0.2.1", "waiting", 0, None, None, 1_800_000_000.0)
    )
    shown = OpenCommitments(7, (CommitmentReport(row, {"waiting": 2, "failed": 1}),)).as_json()
    assert (shown["Open"], shown["Problem"]) == (7, None)
    assert shown["Oldest"] == [
        {
            "TransactionUid": "9.1",
            "Account": "a",
            "CallingAet": "CT?",
            "CalledAet": "GOOGLE",
            "RequestedAt": "2027-01-15T08:00:00+00:00",
            "State": "Waiting",
            "Reports": 0,
            "Detail": None,
            "Waiting": 2,
            "Committed": 0,
            "Failed": 1,
        }
    ]
