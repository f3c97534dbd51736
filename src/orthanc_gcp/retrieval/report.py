"""A retrieval as the REST API and the command show it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orthanc_gcp.ledger.retrievals.rows import RetrievalReport, RetrievedRow
from orthanc_gcp.ledger.schema import RetrievedState

__all__ = ["as_json"]


def as_json(report: RetrievalReport) -> dict[str, Any]:
    """What somebody wanted back, how far it is, and what is missing and why."""
    row, counts = report.row, report.counts
    reason, detail = report.why
    lacking = sum(counts.get(one, 0) for one in (RetrievedState.MISSING, RetrievedState.DIFFERENT))
    return {
        "Id": row.id,
        "Study": row.study_instance_uid,
        "Series": row.series_instance_uid,
        "Instance": row.sop_instance_uid,
        "Bytes": row.compare_bytes,
        "Cause": row.cause,
        "State": row.state,
        "Instances": sum(counts.values()),
        **{state.capitalize(): counts.get(state, 0) for state in RetrievedState},
        "ReceivedBytes": report.sizes.get(RetrievedState.RECEIVED, 0),
        "Requested": _utc(row.requested_at),
        "Ended": None if row.ended_at is None else _utc(row.ended_at),
        "Reason": reason,
        "Detail": detail,
        "Lacking": [_lacking(one) for one in report.missing],
        "MoreLacking": max(0, lacking - len(report.missing)),
    }


def _lacking(row: RetrievedRow) -> dict[str, Any]:
    return {
        "Study": row.study_instance_uid,
        "Series": row.series_instance_uid,
        "Instance": row.sop_instance_uid,
        "State": row.state,
        "Reason": row.reason,
        "Detail": row.detail,
    }


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
