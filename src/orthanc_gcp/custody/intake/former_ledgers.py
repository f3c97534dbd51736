"""Whether a ledger has come into the place of another: one that was deleted, or is elsewhere.

A ledger cannot know what it does not have. So Orthanc's storage folder has a file beside its images
that names the ledgers which it was followed with; a ledger that is not among them is a new one, and
what the one before knew is not in it. Without such a file it is the first.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Stage
from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["FILE_NAME", "FormerLedger", "accept", "former_ledgers", "note_ledger"]

FILE_NAME = "orthanc-gcp-ledger.json"
_MOST_REMEMBERED = 20
_OWN, _FORMER = "ledger", "former_ledger:"


@dataclass(frozen=True)
class FormerLedger:
    """That an Orthanc was followed with another ledger before this one.

    Attributes
    ----------
    source
        What this ledger calls the index of that Orthanc.
    noticed_at
        Seconds since 1970, UTC.
    instances
        What Orthanc had then: what was received before is not in this ledger.
    """

    source: str
    noticed_at: float
    instances: int


def note_ledger(ledger: Ledger, folder: Path, source: str, count: Callable[[], int]) -> bool:
    """Note in Orthanc's storage folder which ledger it is followed with.

    Parameters
    ----------
    folder
        Where none is, as for a worker on another machine, nothing can be noted.
    source
        What the ledger calls the index of Orthanc.
    count
        How many instances Orthanc has.

    Returns
    -------
    bool
        Whether it was followed with others only before.

    Raises
    ------
    OSError
        The file cannot be read, or not be written.
    OrthancError
        Orthanc cannot be asked.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    if not folder.is_dir():
        return False
    file, own = folder / FILE_NAME, _identity(ledger)
    noted = _noted(file)
    if own in noted:
        return False
    # Once: where the folder cannot be written, it is found anew each time.
    if noted and ledger.key_values.get(_FORMER + source, dict) is None:
        ledger.key_values.set(
            _FORMER + source, {"noticed_at": ledger.now(), "instances": count(), "accepted": False}
        )
    _write(file, [*noted, own][-_MOST_REMEMBERED:])
    return bool(noted)


def former_ledgers(ledger: Ledger) -> list[FormerLedger]:
    """What came before this ledger, and is not made up for yet: by a backfill, or by a person.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    found = []
    for name, value in ledger.key_values.starting_with(_FORMER).items():
        former = _former(name.removeprefix(_FORMER), value)
        if former is not None and not _is_made_up_for(ledger, former):
            found.append(former)
    return found


def accept(ledger: Ledger, source: str) -> bool:
    """A person has seen that an index had another ledger before; whether there was one.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing has changed.
    """
    known = any(one.source == source for one in former_ledgers(ledger))
    if known:
        ledger.key_values.change(
            _FORMER + source, dict, lambda was: {**(was or {}), "accepted": True}
        )
    return known


def _is_made_up_for(ledger: Ledger, former: FormerLedger) -> bool:
    run = BackfillStudies(ledger, former.source, ()).run
    return run is not None and run.stage is Stage.FINISHED and run.began >= former.noticed_at


def _former(source: str, value: Any) -> FormerLedger | None:
    try:
        if value["accepted"]:
            return None
        return FormerLedger(source, float(value["noticed_at"]), int(value["instances"]))
    except (KeyError, TypeError, ValueError):
        return None  # what is damaged says nothing


def _identity(ledger: Ledger) -> str:
    """What tells this ledger from others, also after it was restored."""
    value = ledger.key_values.change(
        _OWN, dict, lambda was: was if was and "id" in was else {"id": secrets.token_hex(16)}
    )
    return str((value or {})["id"])


def _noted(file: Path) -> list[str]:
    try:
        noted = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return [one for one in noted if isinstance(one, str)] if isinstance(noted, list) else []


def _write(file: Path, ledgers: list[str]) -> None:
    new = file.with_suffix(".new")
    with new.open("w", encoding="utf-8") as opened:
        json.dump(ledgers, opened)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
