"""Small values under names: pauses, states of backfills, alarms, rate limits, gaps, a key."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sql

from orthanc_gcp.ledger.database import reading, upsert, writing
from orthanc_gcp.ledger.schema import key_values

__all__ = ["KeyValues"]

_log = logging.getLogger(__name__)

Value = TypeVar("Value", bool, float, list[Any], dict[str, Any])


class KeyValues:
    """What people have set, and what workers have to know of each other; each value is JSON.

    A value that is not of the kind that is asked for counts as none, and its name is logged: it
    must not stop what it is not about.

    Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
    """

    def __init__(self, engine: sql.Engine) -> None:
        self._engine = engine
        self._reported: set[str] = set()

    def get(self, name: str, kind: type[Value]) -> Value | None:
        """What was last set under a name; None if nothing was."""
        query = sql.select(key_values.c.value).where(key_values.c.name == name)
        with reading(self._engine) as connection:
            return self._of_kind(name, connection.scalar(query), kind)

    def starting_with(self, prefix: str) -> dict[str, Any]:
        """All that was set under names that begin so."""
        query = sql.select(key_values.c.name, key_values.c.value).where(
            key_values.c.name.startswith(prefix, autoescape=True)
        )
        with reading(self._engine) as connection:
            return {row.name: row.value for row in connection.execute(query)}

    def set(self, name: str, value: bool | float | list[Any] | dict[str, Any]) -> None:
        """Replace what is under a name."""
        statement = upsert(self._engine.dialect.name, key_values).values(name=name, value=value)
        with writing(self._engine) as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["name"], set_={"value": statement.excluded.value}
                )
            )

    def set_if_absent(self, name: str, value: dict[str, Any]) -> None:
        """Set what is under a name, unless something is; of several at once, one does."""
        statement = upsert(self._engine.dialect.name, key_values).values(name=name, value=value)
        with writing(self._engine) as connection:
            connection.execute(statement.on_conflict_do_nothing(index_elements=["name"]))

    def delete(self, name: str) -> None:
        """Leave nothing under a name."""
        with writing(self._engine) as connection:
            connection.execute(key_values.delete().where(key_values.c.name == name))

    def change(
        self, name: str, kind: type[Value], change: Callable[[Value | None], Value | None]
    ) -> Value | None:
        """Set what becomes of what was there (None at first); changes come one after another."""
        mine = key_values.c.name == name
        with writing(self._engine) as connection:
            # Two workers may be first at once: the row has to be there before it can be locked.
            first = upsert(self._engine.dialect.name, key_values).values(
                name=name, value=sql.JSON.NULL
            )
            connection.execute(first.on_conflict_do_nothing(index_elements=["name"]))
            before = connection.scalar(sql.select(key_values.c.value).where(mine).with_for_update())
            value = change(self._of_kind(name, before, kind))
            connection.execute(key_values.update().where(mine).values(value=value))
        return value

    def _of_kind(self, name: str, value: Any, kind: type[Value]) -> Value | None:
        if value is None or isinstance(value, (int, float) if kind is float else kind):
            return value
        if name not in self._reported:
            self._reported.add(name)
            _log.error("the ledger: %r of %s is no %s", name, key_values.name, kind.__name__)
        return None
