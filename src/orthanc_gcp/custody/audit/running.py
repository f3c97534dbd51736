"""Which audits run, and how far each is: in the ledger, for whoever watches it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["AuditProgress", "RunningAudit", "running_audits"]

_PREFIX = "audit-running:"
EVERY = 10.0
"""Seconds between two notes of how far it is."""
SILENT_AFTER = 900.0
"""An audit that has said nothing for so many seconds has ended: one study takes less."""


@dataclass(frozen=True)
class AuditProgress:
    """How far an audit is; moments are seconds since 1970, UTC.

    Attributes
    ----------
    where
        The machine that it runs on.
    noted_at
        When it was so far.
    """

    where: str
    began_at: float
    done: int
    total: int
    noted_at: float

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Machine": self.where,
            "Began": utc(self.began_at),
            "Studies": {"Done": self.done, "Total": self.total},
            "Noted": utc(self.noted_at),
        }


class RunningAudit:
    """Notes how far one audit is. That it cannot be noted is no reason for the audit to end.

    Parameters
    ----------
    where
        The machine that it runs on.
    """

    def __init__(self, ledger: Ledger, where: str) -> None:
        self._ledger, self._where = ledger, where
        self._name = f"{_PREFIX}{secrets.token_hex(8)}"
        self._began = ledger.now()
        self._noted = float("-inf")

    def note(self, done: int, total: int) -> None:
        """So many studies were compared of so many; written down from time to time."""
        now = self._ledger.now()
        if 0 <= now - self._noted < EVERY:
            return
        self._noted = now
        value = {
            "where": self._where,
            "began_at": self._began,
            "done": done,
            "total": total,
            "noted_at": now,
        }
        with suppress(SQLAlchemyError):
            self._ledger.key_values.set(self._name, value)

    def end(self) -> None:
        """It has ended, or was broken off; of others that did not say so nothing is left."""
        with suppress(SQLAlchemyError):
            now = self._ledger.now()
            for name, value in self._ledger.key_values.starting_with(_PREFIX).items():
                found = _progress(value)
                if name == self._name or found is None or not _is_running(found, now):
                    self._ledger.key_values.delete(name)


def running_audits(ledger: Ledger) -> list[AuditProgress]:
    """All that run, those that began first at first.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    now = ledger.now()
    found = map(_progress, ledger.key_values.starting_with(_PREFIX).values())
    running = [one for one in found if one is not None and _is_running(one, now)]
    return sorted(running, key=lambda one: one.began_at)


def _is_running(one: AuditProgress, now: float) -> bool:
    return abs(now - one.noted_at) < SILENT_AFTER


def _progress(value: Any) -> AuditProgress | None:
    """What the ledger has of one; None for what is none."""
    if not isinstance(value, Mapping):
        return None
    try:
        return AuditProgress(
            str(value["where"]),
            float(value["began_at"]),
            int(value["done"]),
            int(value["total"]),
            float(value["noted_at"]),
        )
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
