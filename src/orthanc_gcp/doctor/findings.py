"""What a check found, for a person and for a program."""

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
    """There is nothing to check, or a check before it failed."""
    UNKNOWN = "unknown"
    """It is needed, and could not be checked."""


@dataclass(frozen=True)
class Finding:
    """One line of the check.

    Attributes
    ----------
    check : str
        What was checked.
    result : Result
        How it ended.
    cause : str
        What was found, or why it was skipped.
    remedy : str
        The command or option that mends it; empty where there is nothing to remedy.
    """

    check: str
    result: Result
    cause: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The finding for a program."""
        fields = asdict(self)
        return {name.capitalize(): fields[name] for name in ("check", "cause", "remedy")} | {
            "Result": self.result.value
        }
