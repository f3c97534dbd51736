"""The tables of the ledger. They hold UIDs, sizes, digests and states, no patient data."""

from __future__ import annotations

from enum import IntEnum, StrEnum

import sqlalchemy as sql

__all__ = [
    "IS_OWED",
    "UNSENT",
    "Priority",
    "State",
    "backlog",
    "cursors",
    "events",
    "metadata",
    "standings",
    "transfers",
    "workers",
]


class State(StrEnum):
    """Where an instance is on its way to one destination."""

    HELD = "held"  # until its series or study is stable
    WAITING = "waiting"
    DELAYED = "delayed"  # waiting, but not before a moment
    SENDING = "sending"
    ACKNOWLEDGED = "acknowledged"  # the store said so
    CONFIRMED = "confirmed"  # and was seen to have it
    QUARANTINED = "quarantined"  # needs a person
    WITHDRAWN = "withdrawn"  # deleted in Orthanc before it was sent


class Priority(IntEnum):
    """What goes first."""

    LIVE = 0
    DEMANDED = 1
    BACKFILL = 2


IS_OWED = "state IN ('held', 'waiting', 'delayed', 'sending') AND priority <> 2"
"""The rows whose age counts: still to be sent, and no backfill. In these very words, so that the
database sees that an index covers it."""

metadata = sql.MetaData()
_Id = sql.BigInteger().with_variant(sql.Integer, "sqlite")


def _partial(name: str, condition: str, *columns: str) -> sql.Index:
    """An index over the few rows that a condition holds for."""
    where = sql.text(condition)
    return sql.Index(f"gcp_transfers_{name}", *columns, sqlite_where=where, postgresql_where=where)


transfers = sql.Table(
    "gcp_transfers",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("source", sql.Text, nullable=False),  # which Orthanc
    sql.Column("resource", sql.Text, nullable=False),  # Orthanc's identifier of the instance
    sql.Column("study", sql.Text, nullable=False),
    sql.Column("series", sql.Text, nullable=False),
    sql.Column("instance", sql.Text, nullable=False),
    sql.Column("size", sql.BigInteger, nullable=False),
    sql.Column("file", sql.Text, nullable=False, default=""),  # its name in Orthanc's storage
    sql.Column("digest", sql.Text),  # SHA-256 of the bytes sent
    sql.Column("state", sql.Text, nullable=False),
    sql.Column("priority", sql.SmallInteger, nullable=False),
    sql.Column("change", sql.BigInteger, nullable=False, default=0),  # Seq of Orthanc's change
    sql.Column("held_for", sql.Text),  # Orthanc's identifier of the series or study
    sql.Column("due", sql.Float),  # when DELAYED or ACKNOWLEDGED is looked at again
    sql.Column("attempts", sql.Integer, nullable=False, default=0),
    sql.Column("company", sql.Integer),  # the most instances in a batch with it: bisection
    sql.Column("replace", sql.Boolean, nullable=False, default=False),
    sql.Column("reason", sql.Text),
    sql.Column("detail", sql.Text),
    sql.Column("batch", sql.Text),
    sql.Column("worker", sql.Text),
    sql.Column("identity", sql.Text),  # in whose name it was sent, to Google
    sql.Column("received", sql.Float, nullable=False),
    sql.Column("wanted", sql.Float, nullable=False),  # since when it is to be sent
    sql.Column("acknowledged", sql.Float),
    sql.Column("confirmed", sql.Float),
    sql.UniqueConstraint("account", "source", "resource"),
    # The queue of each Orthanc, and the counts of everything, from the index alone.
    sql.Index("gcp_transfers_queue", "account", "source", "state", "priority", "id", "size"),
    sql.Index("gcp_transfers_study", "study", "account"),
    sql.Index("gcp_transfers_series", "series", "account", "state"),
    sql.Index("gcp_transfers_instance", "instance"),
    _partial("batch", "batch IS NOT NULL", "batch"),
    _partial("held", "held_for IS NOT NULL", "held_for"),
    _partial("sending", f"state = '{State.SENDING}'", "account", "batch"),
    _partial("delayed", f"state = '{State.DELAYED}'", "account", "due"),
    _partial("backfill", "priority = 2", "source", "state", "confirmed", "size"),
    _partial("acknowledged", f"state = '{State.ACKNOWLEDGED}'", "account", "due"),
    _partial("owed", IS_OWED, "account", "wanted"),
)
"""One row for each instance and destination. Times are seconds since 1970, UTC."""

UNSENT: dict[str, None] = dict.fromkeys(
    (
        "due",
        "company",
        "reason",
        "detail",
        "batch",
        "worker",
        "identity",
        "acknowledged",
        "confirmed",
    )
)
"""The columns of a row that tell of its sending, as they are before it."""

events = sql.Table(
    "gcp_events",
    metadata,
    sql.Column("id", _Id, primary_key=True, autoincrement=True),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("account", sql.Text, nullable=False),
    sql.Column("study", sql.Text),
    sql.Column("instance", sql.Text),
    sql.Column("kind", sql.Text, nullable=False),
    sql.Column("detail", sql.Text),
    sql.Index("gcp_events_study", "study"),
)
"""What a receipt has to tell beside the last state: replacements, quarantines, retries."""

cursors = sql.Table(
    "gcp_cursors",
    metadata,
    sql.Column("source", sql.Text, primary_key=True),
    sql.Column("seq", sql.BigInteger, nullable=False),
    sql.Column("since", sql.Float, nullable=False),  # when following began
)
"""How far each Orthanc's changes have been read."""

backlog = sql.Table(
    "gcp_backlog",
    metadata,
    sql.Column("source", sql.Text, primary_key=True),
    sql.Column("study", sql.Text, primary_key=True),  # Orthanc's identifier
    sql.Column("updated", sql.Text, nullable=False),  # as Orthanc tells it: 20261121T221844
    sql.Index("gcp_backlog_newest", "source", "updated", "study"),
)
"""The studies that a backfill has still to look at."""

workers = sql.Table(
    "gcp_workers",
    metadata,
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("source", sql.Text, nullable=False),
)
"""The workers on a database of several; who lives is told by locks."""

standings = sql.Table(
    "gcp_standings",
    metadata,
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("value", sql.JSON, nullable=False),
)
"""What people have set and what has been told: pauses, backfill, raised alarms, allowances."""
