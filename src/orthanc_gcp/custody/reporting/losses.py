"""What Orthanc has recycled before it was sent, and what a person has acknowledged of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import State, events, lost_changes, transfers
from orthanc_gcp.reasons import TransferReason

__all__ = ["Losses", "LostChanges", "LostStudy", "acknowledge", "losses", "lost_changes_of"]

_ACKNOWLEDGED = "loss acknowledged"
_WORDS = "it was lost, and a person has acknowledged that"


@dataclass(frozen=True)
class LostStudy:
    """Instances of a study that an account does not get; moments are seconds since 1970, UTC."""

    account: str
    source: str
    study_instance_uid: str
    instances: int
    size_bytes: int
    first_received_at: float
    last_received_at: float

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Account": self.account,
            "Source": self.source,
            "Study": self.study_instance_uid,
            "Instances": self.instances,
            "Bytes": self.size_bytes,
            "Received": [utc(self.first_received_at), utc(self.last_received_at)],
        }


@dataclass(frozen=True)
class LostChanges:
    """Changes of an Orthanc that nobody could read: of what, and of how much, is not known.

    Attributes
    ----------
    first_seq, last_seq
        Their numbers are between these, both included.
    changes
        How many of these numbers.
    """

    account: str
    source: str
    first_seq: int
    last_seq: int
    changes: int
    noticed_at: float

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Account": self.account,
            "Source": self.source,
            "First": self.first_seq,
            "Last": self.last_seq,
            "Changes": self.changes,
            "Noticed": utc(self.noticed_at),
        }


@dataclass(frozen=True)
class Losses:
    """What nobody has acknowledged, or what was acknowledged just now."""

    studies: tuple[LostStudy, ...]
    changes: tuple[LostChanges, ...]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Studies": [one.as_json() for one in self.studies],
            "Changes": [one.as_json() for one in self.changes],
        }


def losses(ledger: Ledger) -> Losses:
    """All that nobody has acknowledged.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    with ledger.reading() as connection:
        studies, _ = _studies(connection)
        changes, _ = _changes(connection)
    return Losses(studies, changes)


def acknowledge(ledger: Ledger) -> Losses:
    """A person knows of the losses: they are not reported any more; which they were.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing is acknowledged.
    """
    now = ledger.now()
    withdrawn = {"state": State.WITHDRAWN, "reason": TransferReason.RECYCLED, "detail": _WORDS}
    with ledger.writing() as connection:
        studies, rows = _studies(connection)
        changes, gaps = _changes(connection)
        for some in portions(rows, MOST_PARAMETERS):
            mine = transfers.c.id.in_(some)
            connection.execute(transfers.update().where(mine).values(withdrawn))
            add_for(connection, now, some, _ACKNOWLEDGED)
        for some in portions(gaps, MOST_PARAMETERS):
            mine = lost_changes.c.id.in_(some)
            connection.execute(lost_changes.update().where(mine).values(acknowledged_at=now))
        for one in changes:
            connection.execute(events.insert().values(_event(one, now)))
    return Losses(studies, changes)


def lost_changes_of(ledger: Ledger) -> dict[str, int]:
    """How many changes are lost by account, as far as nobody has acknowledged it.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of = lost_changes.c
    query = sql.select(of.account, sql.func.sum(of.changes)).where(of.acknowledged_at.is_(None))
    with ledger.reading() as connection:
        return {
            account: int(changes)
            for account, changes in connection.execute(query.group_by(of.account))
        }


def _studies(connection: sql.Connection) -> tuple[tuple[LostStudy, ...], list[int]]:
    """The studies, and the rows of their instances, which nobody else changes meanwhile."""
    of = transfers.c
    columns = of.account, of.source, of.study_instance_uid
    query = (
        sql.select(*columns, of.id, of.size_bytes, of.received_at)
        .where(of.state == State.LOST)
        .order_by(*columns)
        .with_for_update()
    )
    found: dict[tuple[str, str, str], LostStudy] = {}
    rows = []
    for account, source, study, row, size, received in connection.execute(query):
        rows.append(row)
        key = account, source, study
        one = found.get(key) or LostStudy(*key, 0, 0, received, received)
        found[key] = replace(
            one,
            instances=one.instances + 1,
            size_bytes=one.size_bytes + size,
            first_received_at=min(one.first_received_at, received),
            last_received_at=max(one.last_received_at, received),
        )
    return tuple(found.values()), rows


def _changes(connection: sql.Connection) -> tuple[tuple[LostChanges, ...], list[int]]:
    of = lost_changes.c
    columns = [of[name] for name in LostChanges.__dataclass_fields__]
    query = sql.select(of.id, *columns).where(of.acknowledged_at.is_(None)).order_by(of.id)
    rows = connection.execute(query.with_for_update()).all()
    return tuple(LostChanges(*row[1:]) for row in rows), [row.id for row in rows]


def _event(one: LostChanges, now: float) -> dict[str, Any]:
    words = f"{one.changes} changes of Orthanc {one.source}, {one.first_seq} to {one.last_seq}"
    return {
        "occurred_at": now,
        "account": one.account,
        "study_instance_uid": "",
        "sop_instance_uid": "",
        "kind": _ACKNOWLEDGED,
        "detail": words,
    }
