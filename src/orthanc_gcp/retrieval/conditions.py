"""What has to hold so that anything is brought back into an Orthanc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Conditions"]


@dataclass(frozen=True)
class Conditions:
    """Asked anew each time.

    Attributes
    ----------
    source
        The ledger's name for the index of Orthanc; empty while nothing may be retrieved into it.
    allowed
        Whether anything may be retrieved from an account now: not while it is paused.
    must_stop
        Whether nothing more is to be begun.
    """

    source: Callable[[], str]
    allowed: Callable[[str], bool]
    must_stop: Callable[[], bool]
