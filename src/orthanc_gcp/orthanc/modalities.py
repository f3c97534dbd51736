"""The modalities that Orthanc knows, and what it sends to one of them itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["modality_of", "store_at"]

_PRIORITY = 10
"""Somebody waits for it; jobs have 0 by default."""
_LOOK_EVERY = 0.1


def modality_of(
    rest: OrthancRest, aet: str, plain: Callable[[str], str]
) -> tuple[str, dict[str, Any]] | None:
    """Orthanc's name and entry of the modality with an AE title, None for none.

    Those in its database count as well as those of its configuration.

    Parameters
    ----------
    plain
        Makes AE titles alike that are the same.

    Raises
    ------
    OrthancUnavailableError
        Orthanc does not answer.
    OrthancRefusedError
        Its answer is an error.
    """
    every = rest.call("GET", "/modalities?expand")
    for name, entry in every.items() if isinstance(every, dict) else ():
        if isinstance(entry, dict) and plain(str(entry.get("AET", ""))) == plain(aet):
            return name, entry
    return None


def store_at(
    rest: OrthancRest,
    modality: str,
    instances: Sequence[str],
    originator: tuple[str, int],
    within: float,
) -> None:
    """Have Orthanc send instances, by its identifiers, and wait for the end.

    One that fails ends it: of a job that goes on ("Permissive"), Orthanc 1.10 does not say what
    has failed.

    Parameters
    ----------
    modality
        Orthanc's name of it.
    originator
        The AE title and the message of the C-MOVE that asks for it (PS3.7 §9.1.1.1).
    within
        Seconds for all of it.

    Raises
    ------
    OrthancUnavailableError
        Orthanc does not answer.
    OrthancRefusedError
        Its answer is an error, or not all was sent.
    """
    body = {
        "Resources": list(instances),
        "Synchronous": False,
        "Priority": _PRIORITY,
        "MoveOriginatorAet": originator[0],
        "MoveOriginatorID": originator[1],
    }
    made = rest.call("POST", f"/modalities/{quote(modality, safe='')}/store", body)
    number = made.get("ID") if isinstance(made, dict) else None
    deadline = time.monotonic() + within
    while number and time.monotonic() < deadline:
        job = rest.call("GET", f"/jobs/{number}")
        state = job.get("State") if isinstance(job, dict) else None
        if state == "Success":
            return
        if state not in ("Pending", "Running"):
            break
        time.sleep(_LOOK_EVERY)
    if number:
        rest.call("POST", f"/jobs/{number}/cancel", {})
    raise OrthancRefusedError("Orthanc has not sent all of them: see its log, and JobsHistorySize")
