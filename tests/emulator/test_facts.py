"""The facts of the guide: each is shown by tests that there are, or said to be absent."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.emulator.facts import FOLDER, GUIDE, MOST_ABSENT, Fact, count, read_facts

FACTS = read_facts(GUIDE.read_text(encoding="utf-8"))


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.statement[:60])
def test_a_fact_is_shown_by_tests_that_there_are(fact: Fact) -> None:
    assert fact.tests or fact.here == "absent"
    for test in fact.tests:
        file, _, name = test.partition("::")
        assert name in names_in(file), f"docs/emulator.md: correct `{test}`, which there is not"


def test_every_row_of_the_section_is_read() -> None:
    section = GUIDE.read_text(encoding="utf-8").partition("## Google's facts")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    tables = sum(line.startswith("|---") for line in rows)
    assert len(FACTS) == len(rows) - 2 * tables > 100
    assert len({fact.statement for fact in FACTS}) == len(FACTS)


def test_nothing_that_a_source_supports_differs_and_little_is_absent() -> None:
    classes = count(FACTS)
    known = classes["same"] + classes["differs"] + classes["absent"]
    assert classes["differs"] == 0
    assert classes["absent"] <= MOST_ABSENT * known


def test_a_test_that_fails_makes_a_fact_differ() -> None:
    fact = Fact("a fact", "somebody", "same", ("test_facts.py::test_a", "test_facts.py::test_b"))
    assert count([fact])["same"] == 1
    assert count([fact], frozenset(["test_facts.py::test_b"]))["differs"] == 1
