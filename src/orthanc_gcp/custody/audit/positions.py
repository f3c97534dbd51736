"""How far an audit came that was broken off.

It stands at the end of its report; of an audit without one it is in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orthanc_gcp.custody.audit.totals import Totals
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["Position", "Positions", "ResumeError", "began_of"]

_NAME = "audit"


class ResumeError(Exception):
    """There is no audit that could be gone on with as it is asked for; the message says why."""


@dataclass(frozen=True)
class Position:
    """How far an audit came.

    Attributes
    ----------
    began
        When it did, in seconds since 1970, UTC.
    after
        The Study Instance UID of the last study that was compared; None before the first.
    totals
        What came of those that were compared.
    """

    began: float
    after: str | None = None
    totals: Totals = field(default_factory=Totals)


class Positions:
    """The position of the last audit without a report that was broken off.

    Every method raises :class:`sqlalchemy.exc.SQLAlchemyError` when the ledger is away.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._key_values = ledger.key_values

    def save(self, selection: Mapping[str, Any], position: Position) -> None:
        """Write down where one goes on, in place of another."""
        value = {
            "Selection": dict(selection),
            "Began": utc(position.began),
            "After": position.after,
            "Totals": position.totals.as_json(),
        }
        self._key_values.set(_NAME, value)

    def load(self, selection: Mapping[str, Any]) -> Position:
        """Where one goes on.

        Raises
        ------
        ResumeError
            There is none, or it was of another selection.
        """
        value = self._key_values.get(_NAME, dict)
        try:
            if value is None:
                raise ResumeError("there is none that was broken off: one with a report needs it")
            if value["Selection"] != selection:
                raise ResumeError(
                    "that which was broken off was of another selection, or of another Orthanc"
                )
            return _position(value)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ResumeError("the ledger does not say how far it came") from None

    def last(self) -> Position | None:
        """Where the last one was broken off, whatever its selection; None where there is none."""
        value = self._key_values.get(_NAME, dict)
        if value is None:
            return None
        try:
            return _position(value)
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    def forget(self) -> None:
        """It has come to its end."""
        self._key_values.delete(_NAME)


def _position(value: Mapping[str, Any]) -> Position:
    """What the ledger has of one.

    Raises
    ------
    AttributeError, KeyError, TypeError, ValueError
        It is none.
    """
    after = value["After"]
    return Position(began_of(value), after and str(after), Totals.from_json(value["Totals"]))


def began_of(document: Mapping[str, Any]) -> float:
    """When an audit began, in seconds since 1970, UTC.

    Raises
    ------
    KeyError, TypeError, ValueError
        The document does not say it.
    """
    return datetime.fromisoformat(document["Began"]).timestamp()
