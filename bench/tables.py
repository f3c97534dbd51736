"""The results of a run as JSON and Markdown, and the guide's page that shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.frame import Comparison, Figure, Measurement, Round, Spread, against, compare

__all__ = ["goals_table", "page", "refresh", "write"]

Document = dict[str, Any]

HEADING = "median (least to most)"


def write(
    folder: Path, measurement: Measurement, rounds: Sequence[Round], environment: dict[str, str]
) -> None:
    """Write ``NAME.json`` and ``NAME.md``, and ``goals.md`` from all results in the folder."""
    folder.mkdir(exist_ok=True)
    comparisons = list(compare(measurement, rounds))
    document = {
        "measurement": measurement.name,
        "title": measurement.title,
        "environment": environment,
        "goals": list(_goals(measurement, rounds)),
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "quotes": [asdict(quote) for quote in measurement.quotes],
        "rounds": rounds,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{measurement.name}.json").write_text(text)
    (folder / f"{measurement.name}.md").write_text(page(measurement, rounds, environment))
    (folder / "goals.md").write_text(goals_table(folder) + "\n")


def page(measurement: Measurement, rounds: Sequence[Round], environment: dict[str, str]) -> str:
    """The tables of a measurement as Markdown."""
    comparisons = list(compare(measurement, rounds))
    lines = [*_page(measurement, comparisons, len(rounds), environment)]
    if appendix := measurement.appendix():
        lines += ["", appendix]
    return "\n".join(lines) + "\n"


def goals_table(folder: Path) -> str:
    """Every goal of every measurement that has results, and whether it is met."""
    documents = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return "\n".join(
        _table(
            ("figure", "subject", "goal: at most", "measured", ""),
            (
                (
                    goal["title"],
                    goal["subject"],
                    *_goal(goal),
                    "met" if goal["met"] else "**missed**",
                )
                for document in documents
                for goal in document["goals"]
            ),
        )
    )


def refresh(guide: Path, folder: Path) -> None:
    """Put each Markdown file of the results between its marks in a page of the guide."""
    text = guide.read_text()
    for file in sorted(folder.glob("*.md")):
        begin, end = f"<!-- {file.stem}: begin -->", f"<!-- {file.stem}: end -->"
        marked = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
        if len(marked.findall(text)) != 1:
            raise ValueError(f"{guide} should have {begin} … {end} once")
        text = marked.sub(f"{begin}\n{file.read_text()}{end}".replace("\\", r"\\"), text)
    guide.write_text(text)


def _goals(measurement: Measurement, rounds: Sequence[Round]) -> Iterator[Document]:
    figures = {figure.key: figure for figure in measurement.figures}
    present = {(subject, key) for subject, taken in rounds[0].items() for key in taken}
    for goal in measurement.goals:
        others = [other for other in goal.of if (other, goal.figure) in present]
        if (goal.subject, goal.figure) not in present or (goal.of and not others):
            continue  # not all subjects were asked for, or one gave up
        figure = figures[goal.figure]
        measured = against(goal, measurement.subjects[0], rounds)
        yield {
            **asdict(goal),
            "of": _best(goal.of),
            "title": figure.title
            if goal.kind == "more"
            else f"{measurement.title}: {figure.title}",
            "unit": figure.unit,
            "digits": figure.digits,
            "measured": measured,
            "met": measured <= goal.most,
        }


def _goal(goal: Document) -> tuple[str, str]:
    """What a goal asks for, and what was measured."""
    kind, digits, unit = goal.get("kind", "more"), goal["digits"], goal["unit"]
    if kind == "times":
        return f"{goal['most']:.3g} of {goal['of']}", f"{goal['measured']:.2f}"
    sign = "+" if kind == "more" else ""
    return f"{goal['most']:{sign}g} {unit}", f"{goal['measured']:{sign},.{digits}f} {unit}"


def _best(subjects: Sequence[str]) -> str:
    """What a goal is compared with, in words."""
    return f"the best of {'; '.join(subjects)}" if len(subjects) > 1 else "".join(subjects)


def _page(
    measurement: Measurement,
    comparisons: Sequence[Comparison],
    rounds: int,
    environment: dict[str, str],
) -> Iterator[str]:
    known = {comparison.figure for comparison in comparisons}
    for figure in (figure for figure in measurement.figures if figure.key in known):
        yield f"**{figure.title}** ({figure.unit})"
        yield ""
        yield from _figure(measurement, figure, comparisons)
        yield ""
    versions = ", ".join(f"{name} {value}" for name, value in environment.items())
    yield f"{rounds} round{'s' * (rounds > 1)}. {versions.replace('machine ', 'on ')}."


def _figure(
    measurement: Measurement, figure: Figure, comparisons: Sequence[Comparison]
) -> Iterator[str]:
    baseline = measurement.subjects[0]
    head = ("subject", HEADING, f"more than {baseline}", f"of {baseline}", "of its peer")
    digits = figure.digits
    rows = [
        (
            entry.subject,
            _spread(entry.value, digits),
            _spread(entry.more, digits, sign="+"),
            _ratio(entry.times),
            _ratio(entry.times_peer),
        )
        for entry in comparisons
        if entry.figure == figure.key
    ]
    for quote in measurement.quotes:
        if quote.figure == figure.key:
            value = "" if quote.value is None else f"{quote.value:,g}"
            more = "" if quote.more is None else f"{quote.more:+,g}"
            rows.append((quote.subject, value, more, "", ""))
    yield from _table(head, rows)


def _spread(spread: Spread | None, digits: int, sign: str = "") -> str:
    if spread is None:
        return ""
    median, least, most = (
        f"{value:{sign},.{digits}f}" for value in (spread.median, spread.least, spread.most)
    )
    return f"{median} ({least} to {most})"


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f} times"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
