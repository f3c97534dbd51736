"""What Orthanc says of a file that it was given (``POST /instances``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from orthanc_gcp.error_text import classified
from orthanc_gcp.reasons import RetrievalReason

__all__ = ["Judgement", "Taken", "judge"]

_STORED, _ALREADY, _FILTERED = "Success", "AlreadyStored", "FilteredOut"
_FULL, _BAD_FILE = (14, 19), 15
"""``OrthancStatus``: CannotWriteFile, as on a full disk, FullStorage, and BadFileFormat (Orthanc's
plugin SDK, ``OrthancPluginErrorCode``)."""
_INSUFFICIENT_STORAGE = 507


class Taken(Enum):
    """What became of a file."""

    STORED = "stored"
    ALREADY = "already"
    """Orthanc had an instance with its UIDs, and has it as it was."""
    REFUSED = "refused"
    """It does not take this one, however often it is asked."""
    FULL = "full"
    """It has no room for it now."""
    FAILED = "failed"
    """It failed at it, and may not the next time."""


@dataclass(frozen=True)
class Judgement:
    """What Orthanc says of a file.

    Attributes
    ----------
    orthanc_id
        Where it was taken, or was there.
    """

    taken: Taken
    orthanc_id: str = ""
    reason: RetrievalReason | None = None
    words: str = ""


def judge(status: int, answer: Any) -> Judgement:
    """Judge an answer; nothing counts as stored that is not named as stored."""
    said: Mapping[str, Any] = answer if isinstance(answer, Mapping) else {}
    if status == 200:
        return _by_status(said)
    # A script or a plugin of Orthanc's may name the patient in it.
    words = classified(str(said.get("Details") or said.get("Message") or ""))
    code = said.get("OrthancStatus")
    if code in _FULL or status == _INSUFFICIENT_STORAGE:
        return Judgement(Taken.FULL, "", RetrievalReason.FULL, words or "Orthanc's storage is full")
    if code == _BAD_FILE:
        return Judgement(Taken.REFUSED, "", RetrievalReason.INVALID, words)
    told = f"Orthanc answered {status}" + (f" ({words})" if words else "")
    return Judgement(Taken.FAILED, "", RetrievalReason.ORTHANC, told)


def _by_status(said: Mapping[str, Any]) -> Judgement:
    status, identifier = said.get("Status"), said.get("ID")
    if status == _FILTERED:
        words = "a filter, a script or a plugin of Orthanc's does not let it in"
        return Judgement(Taken.REFUSED, "", RetrievalReason.FILTERED, words)
    if isinstance(identifier, str) and identifier and status in (_STORED, _ALREADY):
        taken = Taken.STORED if status == _STORED else Taken.ALREADY
        return Judgement(taken, identifier)
    words = (
        f"Orthanc did not say that it has stored it ({classified(str(status)) or 'nothing known'})"
    )
    return Judgement(Taken.FAILED, "", RetrievalReason.ORTHANC, words)
