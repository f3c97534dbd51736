"""Goals and their tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.frame import Figure, Goal, Measurement, Round, against, compare
from bench.tables import goals_table, page, write

SECONDS = Figure("seconds", "Begin to end", "s", 2)
ROUNDS: list[Round] = [
    {"a": {"seconds": 4.0}, "b": {"seconds": 8.0}, "ours": {"seconds": 2.0}},
    {"a": {"seconds": 9.0}, "b": {"seconds": 3.0}, "ours": {"seconds": 2.0}},
    {"a": {"missing": 7.0}, "b": {"seconds": 4.0}, "ours": {"seconds": 3.0}},
]


def measurement(*goals: Goal, appendix: str = "") -> Measurement:
    return Measurement(
        *("name", "Title", ("a", "b", "ours"), (SECONDS,), lambda _: ROUNDS[0]),
        goals=goals,
        appendix=lambda: appendix,
    )


def test_a_goal_is_about_the_best_of_others_in_each_round() -> None:
    goal = Goal("seconds", "ours", 0.6, "times", ("a", "b"))
    assert against(goal, "a", ROUNDS) == pytest.approx(2 / 3)  # of 2/4, 2/3 and 3/4
    assert against(Goal("seconds", "ours", 1, "times", ("a",)), "b", ROUNDS) == pytest.approx(
        (2 / 4 + 2 / 9) / 2
    )
    assert against(Goal("seconds", "ours", 1), "b", ROUNDS) == -1.0
    assert against(Goal("seconds", "ours", 1, "value"), "b", ROUNDS) == 2.0


def test_nothing_is_a_multiple_of_zero() -> None:
    rounds: list[Round] = [{"a": {"seconds": 0.0}, "b": {"seconds": 0.0}, "ours": {"seconds": 1}}]
    (_, of_b, ours) = compare(measurement(), rounds)
    assert (of_b.times, ours.times) == (None, None)


def test_goals_and_appendix_are_written(tmp_path: Path) -> None:
    goals = (
        Goal("seconds", "ours", 0.7, "times", ("a", "b")),
        Goal("seconds", "ours", 0.1, "times", ("b", "absent")),
        Goal("seconds", "ours", 0.1, "times", ("absent",)),
    )
    write(tmp_path, measurement(*goals, appendix="And more."), ROUNDS, {"machine": "two cores"})
    document = json.loads((tmp_path / "name.json").read_text())
    assert [goal["met"] for goal in document["goals"]] == [True, False]
    lines = goals_table(tmp_path).splitlines()[2:]
    assert lines == [
        "| Title: Begin to end | ours | 0.7 of the best of a; b | 0.67 | met |",
        "| Title: Begin to end | ours | 0.1 of the best of b; absent | 0.67 | **missed** |",
    ]
    text = (tmp_path / "name.md").read_text()
    assert text.endswith("3 rounds. on two cores.\n\nAnd more.\n")
    assert page(measurement(), ROUNDS, {}).endswith("3 rounds. .\n")
