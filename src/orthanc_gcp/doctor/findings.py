"""What a check found, in words for a person and for a program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

__all__ = ["Finding", "Result"]


class Result(Enum):
    """How a check ended."""

    PASSED = "passed"
    WARNING = "warning"
    """It works; somebody should know of it."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """There is nothing to look at, or a check before it failed."""
    UNKNOWN = "unknown"
    """It is needed, and could not be looked at."""


@dataclass(frozen=True)
class Finding:
    """One line of an examination.

    Attributes
    ----------
    check : str
        What was looked at.
    result : Result
        How it ended.
    cause : str
        What was found, or why it was skipped.
    mend : str
        The command or option that mends it; empty where there is nothing to mend.
    """

    check: str
    result: Result
    cause: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """The finding for a program."""
        fields = asdict(self)
        return {name.capitalize(): fields[name] for name in ("check", "cause", "mend")} | {
            "Result": self.result.value
        }
