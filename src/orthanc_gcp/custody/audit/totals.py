"""The sum of an audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orthanc_gcp.custody.audit.findings import Category

__all__ = ["COMPLETE", "DIFFERENT", "INCOMPLETE", "Totals"]

COMPLETE, DIFFERENT, INCOMPLETE = 0, 1, 2
"""Exit codes: all is there; something is not; something could not be asked."""


@dataclass
class Totals:
    """What came of all studies so far.

    Attributes
    ----------
    studies, differing
        How many were compared, and of how many something is not in a store as it should be.
    errors
        What could not be compared: studies at an account, and instances.
    counts
        Instances of each kind, each once for every account.
    """

    studies: int = 0
    differing: int = 0
    errors: int = 0
    bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add_study(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add a study: a line for each account, as :meth:`StudyResult.as_json` has it."""
        self.studies += 1
        self.differing += any(line.get("Differs") for line in lines)
        self.add_lines(lines)

    def add_lines(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add what was found out, at some accounts, of no study that was not added before."""
        for line in lines:
            counts = line.get("Counts", {})
            self.errors += ("Error" in line) + counts.get(Category.UNCOMPARED.value, 0)
            self.bytes += line.get("Bytes", 0)
            self.counts.update(counts)

    def exit_code(self, *, with_orthanc: bool) -> int:
        """The exit code of the command; without Orthanc, it is not known whether all is there."""
        if self.errors:
            return INCOMPLETE
        if self.differing:
            return DIFFERENT
        return COMPLETE if with_orthanc else INCOMPLETE

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        compared = {
            "Studies": self.studies,
            "Instances": self.counts["Instances"],
            "Bytes": self.bytes,
        }
        return {
            "Compared": compared,
            "Differing": self.differing,
            "Errors": self.errors,
            "Counts": {name: number for name, number in self.counts.items() if number},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Totals:
        """What :meth:`as_json` has made.

        Raises
        ------
        KeyError, TypeError, ValueError
            It has not.
        """
        compared = document["Compared"]
        return cls(
            int(compared["Studies"]),
            int(document["Differing"]),
            int(document["Errors"]),
            int(compared["Bytes"]),
            Counter({str(name): int(number) for name, number in document["Counts"].items()}),
        )
