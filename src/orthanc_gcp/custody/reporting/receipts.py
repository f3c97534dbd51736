"""Receipts: who sent what of a study to where, when, and what became of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.overview import utc
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, events, transfers

__all__ = ["MOST_EVENTS", "digest_of_all", "receipts"]

MOST_EVENTS = 10_000
"""So many of the newest events of a study are told."""


def digest_of_all(digests: Iterable[tuple[str, str]]) -> str:
    """One SHA-256 over instances, each a SOP Instance UID and the SHA-256 of its file.

    It is that of the lines ``UID SHA-256``, each with a line feed, sorted by bytes, none twice.
    """
    lines = sorted({f"{instance} {digest}\n".encode() for instance, digest in digests})
    return hashlib.sha256(b"".join(lines)).hexdigest()


def receipts(ledger: Ledger, study: str, account: str | None = None) -> list[dict[str, Any]]:
    """The receipt of a study from each account, ready for JSON.

    Raises
    ------
    KeyError
        Nothing of the study was ever to be sent there.
    """
    of = transfers.c
    query = sql.select(transfers).where(of.study_instance_uid == study)
    if account is not None:
        query = query.where(of.account == account)
    with ledger.reading() as connection:
        rows = connection.execute(
            query.order_by(of.account, of.series_instance_uid, of.sop_instance_uid, of.id)
        ).all()
        if not rows:
            raise KeyError(study)
        return [
            {**_receipt(name, list(own)), **_events(connection, name, study)}
            for name, own in groupby(rows, lambda row: str(row.account))
        ]


def _receipt(account: str, rows: Sequence[sql.Row[Any]]) -> dict[str, Any]:
    confirmed = [row for row in rows if row.state == State.CONFIRMED]
    return {
        "Account": account,
        "Study": rows[0].study_instance_uid,
        "Complete": len(confirmed) == len(rows),
        "Instances": len(rows),
        "Bytes": sum(row.size_bytes for row in rows),
        "States": dict(Counter(row.state for row in rows)),
        "Sha256": digest_of_all((row.sop_instance_uid, row.sha256) for row in confirmed)
        if confirmed
        else None,
        "SentBy": _all(row.sent_as for row in rows),
        "Workers": _all(row.worker for row in rows),
        "Sources": _all(row.source for row in rows),
        "Received": _span(row.received_at for row in rows),
        "Acknowledged": _span(row.acknowledged_at for row in rows),
        "Confirmed": _span(row.confirmed_at for row in rows),
        "Series": [
            {"Series": series, "Instances": [_instance(row) for row in own]}
            for series, own in groupby(rows, lambda row: row.series_instance_uid)
        ],
    }


def _all(names: Iterable[str | None]) -> list[str]:
    return sorted({name for name in names if name})


def _span(moments: Iterable[float | None]) -> list[str | None]:
    """The first and the last; nothing where nothing happened yet."""
    known = [moment for moment in moments if moment is not None]
    return [utc(min(known)), utc(max(known))] if known else []


def _instance(row: sql.Row[Any]) -> dict[str, Any]:
    return {
        "Instance": row.sop_instance_uid,
        "Bytes": row.size_bytes,
        "Sha256": row.sha256,
        "State": row.state,
        "Reason": row.reason,
        "Detail": row.detail,
        "SentBy": row.sent_as,
        "Worker": row.worker,
        "Source": row.source,
        "Received": utc(row.received_at),
        "Acknowledged": utc(row.acknowledged_at),
        "Confirmed": utc(row.confirmed_at),
    }


def _events(connection: sql.Connection, account: str, study: str) -> dict[str, Any]:
    of = events.c
    mine = (of.study_instance_uid == study) & (of.account == account)
    query = sql.select(events).where(mine).order_by(of.id.desc()).limit(MOST_EVENTS)
    newest = connection.execute(query).all()
    total = connection.scalar(sql.select(sql.func.count()).select_from(events).where(mine)) or 0
    told = [
        {
            "Time": utc(row.occurred_at),
            "Kind": row.kind,
            "Instance": row.sop_instance_uid,
            "Detail": row.detail,
        }
        for row in reversed(newest)
    ]
    return {"Events": told, "OlderEvents": max(0, total - len(newest))}
