"""What is known of Google's service, and how much of it the emulator does.

The facts stand in a section of docs/emulator.md. ``python -m tests.emulator.facts`` runs the tests
that show them, and counts.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
GUIDE = FOLDER.parents[1] / "docs" / "emulator.md"
SECTION = "## Google's facts, and what shows them here"
UNVERIFIED = "unverified"
MOST_ABSENT = 0.05
"""The share of the facts with a source that the emulator may lack."""

_ROW = re.compile(r"\| (.+) \| (.+) \| (same|differs|absent) \| (.+) \|")
_TEST = re.compile(r"`([\w/]+\.py::\w+)`")


@dataclass(frozen=True)
class Fact:
    """One thing that Google's service does, and what the guide says of the emulator.

    Attributes
    ----------
    source : str
        Who says so, or :data:`UNVERIFIED`.
    here : str
        ``same``, ``differs`` or ``absent``.
    tests : tuple of str
        What shows it: files of this folder with the names of tests.
    """

    statement: str
    source: str
    here: str
    tests: tuple[str, ...]


def read_facts(guide: str) -> list[Fact]:
    """Return the facts of the guide, in its order."""
    section = guide.partition(SECTION)[2].partition("\n## ")[0]
    rows = filter(None, map(_ROW.fullmatch, section.splitlines()))
    return [
        Fact(statement, source, here, tuple(_TEST.findall(shown)))
        for statement, source, here, shown in (row.groups() for row in rows)
    ]


def count(facts: Iterable[Fact], failed: frozenset[str] = frozenset()) -> Counter[str]:
    """Return how many facts are the same here, differ, are absent, or are unverified.

    A fact of which a test has failed differs, whatever the guide says.
    """
    classes: Counter[str] = Counter(same=0, differs=0, absent=0, unverified=0)
    classes.update(_class_of(fact, failed) for fact in facts)
    return classes


def _class_of(fact: Fact, failed: frozenset[str]) -> str:
    if fact.source == UNVERIFIED:
        return UNVERIFIED
    return "differs" if failed.intersection(fact.tests) else fact.here


class Outcomes:
    """Collects what becomes of the tests of a run."""

    def __init__(self) -> None:
        self._passed: defaultdict[str, list[bool]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, _, name = report.nodeid.partition("::")
        test = f"{Path(file).resolve().relative_to(FOLDER)}::{name.partition('[')[0]}"
        self._passed[test].append(not report.failed)

    def failed(self, tests: Iterable[str]) -> frozenset[str]:
        """Return those that did not pass, or were not there."""
        return frozenset(test for test in tests if not all(self._passed.get(test, [False])))


def run(tests: Sequence[str]) -> frozenset[str]:
    """Run tests, and return which of them failed."""
    outcomes = Outcomes()
    pytest.main(["-q", *(str(FOLDER / test) for test in tests)], plugins=[outcomes])
    return outcomes.failed(tests)


def main() -> int:
    facts = read_facts(GUIDE.read_text(encoding="utf-8"))
    failed = run(sorted({test for fact in facts for test in fact.tests}))
    classes = count(facts, failed)
    for fact in facts:
        if _class_of(fact, failed) in ("differs", "absent"):
            print(f"{_class_of(fact, failed)}: {fact.statement} [{fact.source}]")
    print(", ".join(f"{name} {number}" for name, number in classes.items()))
    return 1 if classes["differs"] else 0


if __name__ == "__main__":
    sys.exit(main())
