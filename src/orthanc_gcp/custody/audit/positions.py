"""How far an audit came that was broken off.

It stands at the end of its report; of an audit without one it is in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orthanc_gcp.custody.audit.totals import Totals
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["Position", "Positions", "ResumeError", "began_of", "refuse_another"]

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

    def save(self, what: Mapping[str, Any], position: Position) -> None:
        """Write down where one goes on, in place of another.

        Parameters
        ----------
        what
            It compares: ``Selection``, ``Stores``, ``Rules`` and ``Ledger``.
        """
        value = {
            **what,
            "Began": utc(position.began),
            "After": position.after,
            "Totals": position.totals.as_json(),
        }
        self._key_values.set(_NAME, value)

    def load(self, what: Mapping[str, Any]) -> Position:
        """Where one goes on that compares the same.

        Raises
        ------
        ResumeError
            There is none, or it compared something else.
        """
        value = self._key_values.get(_NAME, dict)
        try:
            if value is None:
                raise ResumeError("there is none that was broken off: one with a report needs it")
            refuse_another(what, value)
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

    def forget_same(self, what: Mapping[str, Any]) -> None:
        """An audit of the same begins anew: none goes on where one of before was broken off."""
        with suppress(ResumeError):
            self.load(what)
            self.forget()

    def forget(self) -> None:
        """It has come to its end."""
        self._key_values.delete(_NAME)


def refuse_another(what: Mapping[str, Any], broken_off: Mapping[str, Any]) -> None:
    """Refuse to go on with an audit that compared something else than what is to be compared.

    Raises
    ------
    ResumeError
        It did.
    """
    if broken_off.get("Selection") != what["Selection"]:
        raise ResumeError("it is of another selection, or of another Orthanc")
    if broken_off.get("Ledger") != what.get("Ledger"):
        raise ResumeError("it is of another ledger")
    if any(broken_off.get(name) != value for name, value in what.items()):
        raise ResumeError("it is of other stores or rules, of a configuration that was changed")


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
