"""The routes about the quarantine, as part of the worker's own REST API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException

from orthanc_gcp.custody.reporting.quarantine import (
    LONGEST_NAME,
    LONGEST_WHY,
    MoreInQuarantineError,
    as_typed,
    dismiss,
    logged_in,
    newest_event_now,
    quarantine,
    word_fault,
)
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.redaction import readable

__all__ = ["QuarantineApi", "said_by", "text_of"]

_SELECTED = ("Study", "Instance", "Reason")
_NUMBERS = ("Destination", "Instances", "AsOf")
_OTHERS = ("All", *_NUMBERS, "Why", "By", "User")
_LARGEST = (1 << 63) - 1
"""The largest whole number of both databases."""
_STATES = (State.QUARANTINED, State.DISMISSED)


class QuarantineApi:
    """Says what is in quarantine, and has it dismissed.

    Parameters
    ----------
    on_dismissal
        Called when something was dismissed.
    """

    def __init__(self, ledger: Ledger, on_dismissal: Callable[[], None]) -> None:
        self._ledger, self._on_dismissal = ledger, on_dismissal

    def groups(self, account: str, selection: Selection) -> dict[str, Any]:
        """What is in quarantine at an account, or was dismissed, by reason.

        Raises
        ------
        HTTPException
            Another state is asked for.
        """
        state = selection.state or State.QUARANTINED
        if state not in _STATES:
            raise HTTPException(400, f"state: expected one of {', '.join(_STATES)}")
        as_of = newest_event_now(self._ledger)
        found = quarantine(self._ledger, selection, state)
        return {"Account": account, "Groups": [one.as_json() for one in found], "AsOf": as_of}

    def dismiss(self, account: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send nothing of what is named; how many instances.

        Raises
        ------
        HTTPException
            It is not said what, why, or who says so; or there is more of it than that person says.
        """
        if unknown := set(body) - {*_SELECTED, *_OTHERS}:
            expected = ", ".join((*_SELECTED, *_OTHERS[:-1]))
            raise HTTPException(400, f"{readable(min(unknown))}: expected {expected}")
        selected = {name: text_of(body, name) for name in _SELECTED if name in body}
        everything = body.get("All", False)
        if not isinstance(everything, bool) or everything is bool(selected):
            raise HTTPException(400, 'expected Study, Instance or Reason, or {"All": true}')
        destination, seen, as_of = (_number_of(body, name) for name in _NUMBERS)
        why = text_of(body, "Why", LONGEST_WHY)
        by = said_by(body)
        chosen = Selection(
            account=account,
            destination_id=destination,
            study_instance_uid=selected.get("Study"),
            sop_instance_uid=selected.get("Instance"),
            reason=selected.get("Reason"),
        )
        try:
            moved = dismiss(self._ledger, chosen, by=by, why=why, seen=seen, as_of=as_of)
        except MoreInQuarantineError as error:
            raise HTTPException(409, str(error)) from None
        self._on_dismissal()
        return {"Account": account, "Instances": moved, "By": by}


def said_by(body: Mapping[str, Any]) -> str:
    """Who has asked, with how that is known: Orthanc's user, or what somebody has typed.

    Raises
    ------
    HTTPException
        It is not said.
    """
    return logged_in(text_of(body, "User")) if "User" in body else as_typed(text_of(body, "By"))


def _number_of(body: Mapping[str, Any], name: str) -> int | None:
    """A whole number that may be left out.

    Raises
    ------
    HTTPException
        It is none.
    """
    given = body.get(name)
    if given is None and name not in body:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= _LARGEST:
        raise HTTPException(400, f"{name}: expected a whole number")
    return given


def text_of(body: Mapping[str, Any], name: str, most: int = LONGEST_NAME) -> str:
    """Words of a person.

    Raises
    ------
    HTTPException
        There are none, too many, or no text of one line.
    """
    given = body.get(name)
    if not isinstance(given, str):
        raise HTTPException(400, f"{name}: expected words")
    if fault := word_fault(given, most):
        raise HTTPException(400, f"{name}: {fault}")
    return given
