"""Rows whose values are not what their columns are for, as a disk or a person may leave them.

PostgreSQL lets no such value in. SQLite stores whatever it is given ("Datatypes In SQLite", type
affinity), and one such row would stop all that are read together with it. So each is found before
the worker begins, named by its number, and made harmless: a transfer goes to quarantine.
Nothing that stands in the database is ever executed: values are numbers, text and JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import writing
from orthanc_gcp.ledger.schema import (
    UNSURE,
    Priority,
    State,
    acknowledged_losses,
    backfill_studies,
    destinations,
    events,
    key_values,
    lost_changes,
    patient_studies,
    patients,
    transfer_history,
    transfers,
)
from orthanc_gcp.reasons import TransferReason

__all__ = ["quarantine_damaged"]

_log = logging.getLogger(__name__)

_TABLES = (
    destinations,
    transfers,
    events,
    backfill_studies,
    key_values,
    patients,
    patient_studies,
    lost_changes,
    acknowledged_losses,
    transfer_history,
)
_TYPES = {
    str: "typeof({0}) = 'text'",
    int: "typeof({0}) = 'integer'",
    bool: "{0} IN (0, 1)",
    float: "typeof({0}) IN ('real', 'integer')",
    sql.JSON: "typeof({0}) IN ('text', 'integer', 'real') AND json_valid({0})",
}
"""What a column is for -> what SQLite says of a value that fits."""


def quarantine_damaged(engine: sql.Engine) -> None:
    """Find damaged rows, say which they are, and let them stop nothing.

    Raises
    ------
    SQLAlchemyError
        The database is away.
    """
    with writing(engine) as connection:
        if engine.dialect.name == "sqlite":
            for table in _TABLES:
                _repair(connection, table)
        of = transfers.c
        wrong = {
            "state": of.state.not_in(list(State)),
            "priority": of.priority.not_in(list(Priority)),
            "destination_id": of.destination_id.not_in(sql.select(destinations.c.id)),
            "account": of.account != _of_destination(destinations.c.account),
        }
        for what, is_wrong in wrong.items():
            for number in connection.scalars(sql.select(of.id).where(is_wrong)).all():
                _quarantine(connection, of.id == number, number, [what], {})


def _repair(connection: sql.Connection, table: sql.Table) -> None:
    for number, columns in _damaged(connection, table):
        values = {column.name: _harmless(column) for column in columns}
        names = [column.name for column in columns]
        if table is transfers:
            _quarantine(connection, _row(number), number, names, values)
        else:
            _log_damage(table, number, names)
            connection.execute(table.update().where(_row(number)).values(values))


def _damaged(
    connection: sql.Connection, table: sql.Table
) -> Iterator[tuple[int, list[sql.Column[Any]]]]:
    """The damaged rows by number, each with the columns that do not fit."""
    columns = list(table.columns)
    wrong = [f"NOT ({_fits(column)})" for column in columns]
    query = f"SELECT rowid, {', '.join(wrong)} FROM {table.name} WHERE {' OR '.join(wrong)}"  # noqa: S608 - names of the schema # nosec B608
    for number, *flags in connection.exec_driver_sql(query).all():
        yield number, [column for column, flag in zip(columns, flags, strict=True) if flag]


def _fits(column: sql.Column[Any]) -> str:
    fits = _TYPES[_kind(column)].format(f'"{column.name}"')
    return f'"{column.name}" IS NULL OR {fits}' if column.nullable else fits


def _kind(column: sql.Column[Any]) -> type:
    return sql.JSON if isinstance(column.type, sql.JSON) else column.type.python_type


def _harmless(column: sql.Column[Any]) -> Any:
    """Nothing, where there may be nothing; of a name its bytes, so that no two become one."""
    if column.nullable:
        return sql.null()
    if _kind(column) is str:
        return sql.func.hex(column)
    return sql.JSON.NULL if _kind(column) is sql.JSON else 0


def _quarantine(
    connection: sql.Connection,
    row: sql.ColumnElement[bool],
    number: int,
    names: list[str],
    values: dict[str, Any],
) -> None:
    _log_damage(transfers, number, names)
    words = f"the ledger had something else in {', '.join(names)}"
    own: dict[str, Any] = {
        "state": State.QUARANTINED,
        "reason": TransferReason.DAMAGED,
        "detail": words,
        "batch": None,
        "stored_sha256": UNSURE,  # what stood there, or whether it was sent, may be gone
    }
    if "priority" in names:
        own["priority"] = Priority.LIVE
    if "destination_id" in names:
        own["destination_id"] = _of_its_account()
    elif "account" in names:
        own["account"] = sql.func.coalesce(_of_destination(destinations.c.account), "")
    connection.execute(transfers.update().where(row).values({**values, **own}))


def _of_its_account() -> sql.ScalarSelect[int]:
    """A destination of the account that a row names: nothing is sent from quarantine."""
    newest = sql.select(sql.func.coalesce(sql.func.max(destinations.c.id), 0))
    return newest.where(destinations.c.account == transfers.c.account).scalar_subquery()


def _of_destination(column: sql.Column[Any]) -> sql.ScalarSelect[Any]:
    """What the destination of a row has in a column."""
    mine = destinations.c.id == transfers.c.destination_id
    return sql.select(column).where(mine).scalar_subquery()


def _row(number: int) -> sql.ColumnElement[bool]:
    return sql.literal_column("rowid") == number


def _log_damage(table: sql.Table, number: int, names: list[str]) -> None:
    _log.error("the ledger: row %d of %s is damaged in %s", number, table.name, ", ".join(names))
