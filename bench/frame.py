"""What a measurement is, and how its rounds are taken and summed up.

A measurement has subjects; the first of them is the baseline. Each round gives one value of every
figure for every subject, and rounds alternate the order of the subjects. All comparisons are made
inside a round and then summed up over the rounds, so that a slow minute of the machine hits both
sides of a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

__all__ = [
    "Comparison",
    "Figure",
    "Goal",
    "Measurement",
    "Quote",
    "Round",
    "Spread",
    "Subject",
    "against",
    "compare",
    "in_turn",
    "take",
]

Figures = dict[str, float]
Round = dict[str, Figures]


@dataclass(frozen=True)
class Subject:
    """Something that can be run and gives figures, by their keys."""

    name: str
    run: Callable[[], Figures]


@dataclass(frozen=True)
class Figure:
    """One quantity, for which smaller is better."""

    key: str
    title: str
    unit: str
    digits: int = 0


@dataclass(frozen=True)
class Goal:
    """How much a subject may need, by the median of the rounds.

    Parameters
    ----------
    kind
        What ``most`` is about: how much ``more`` than the baseline it is, how many ``times`` of
        other subjects, or the ``value`` itself.
    of
        Those other subjects; of several, the one that is best in a round.
    """

    figure: str
    subject: str
    most: float
    kind: Literal["more", "times", "value"] = "more"
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quote:
    """A figure of something that cannot be run here, with where it comes from in its name."""

    figure: str
    subject: str
    value: float | None = None
    more: float | None = None


@dataclass(frozen=True)
class Measurement:
    """Subjects measured side by side.

    Parameters
    ----------
    subjects
        Their names; the first is the baseline.
    peers
        Which subject is compared with which other one, besides the baseline.
    round
        Takes one round; it is given the subjects in the order in which to run them.
    pairs
        Rounds, where nobody asks for another number.
    appendix
        What stands below the tables, in Markdown, once all rounds are taken.
    """

    name: str
    title: str
    subjects: Sequence[str]
    figures: Sequence[Figure]
    round: Callable[[Sequence[str]], Round]
    pairs: int = 5
    peers: tuple[tuple[str, str], ...] = ()
    goals: tuple[Goal, ...] = ()
    quotes: tuple[Quote, ...] = ()
    appendix: Callable[[], str] = str


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some values."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up values, of which there is at least one."""
        known = sorted(values)
        return cls(median(known), known[0], known[-1])


@dataclass(frozen=True)
class Comparison:
    """One figure of one subject over all rounds."""

    figure: str
    subject: str
    value: Spread
    more: Spread | None
    times: Spread | None
    times_peer: Spread | None


def in_turn(subjects: Sequence[Subject]) -> Callable[[Sequence[str]], Round]:
    """The ordinary round: one subject after the other."""
    run = {subject.name: subject.run for subject in subjects}
    return lambda order: {name: run[name]() for name in order}


def take(measurement: Measurement, pairs: int) -> Iterator[Round]:
    """Take the rounds, every second one in reversed order."""
    for number in range(pairs):
        yield measurement.round(list(measurement.subjects)[:: -1 if number % 2 else 1])


def compare(measurement: Measurement, rounds: Sequence[Round]) -> Iterator[Comparison]:
    """Every figure of every subject that has it, against the baseline and against its peer."""
    baseline, peers = measurement.subjects[0], dict(measurement.peers)
    for key in (figure.key for figure in measurement.figures):
        for subject in measurement.subjects:
            values = [taken[subject][key] for taken in rounds if key in taken[subject]]
            if not values:
                continue
            yield Comparison(
                key,
                subject,
                Spread.of(values),
                _more(rounds, key, subject, baseline),
                _times(rounds, key, subject, (baseline,)),
                _times(rounds, key, subject, (peers.get(subject, subject),)),
            )


def against(goal: Goal, baseline: str, rounds: Sequence[Round]) -> float:
    """What a goal is to be compared with."""
    key, subject = goal.figure, goal.subject
    spread: Spread | None
    if goal.kind == "more":
        spread = _more(rounds, key, subject, baseline)
    elif goal.kind == "times":
        spread = _times(rounds, key, subject, goal.of)
    else:
        spread = Spread.of(taken[subject][key] for taken in rounds)
    assert spread is not None, "nothing that a goal is compared with has the figure"
    return spread.median


def _more(rounds: Sequence[Round], key: str, subject: str, other: str) -> Spread | None:
    """How much more than another one that has the figure."""
    both = [(taken[subject], taken[other]) for taken in rounds]
    values = [mine[key] - its[key] for mine, its in both if key in mine and key in its]
    return Spread.of(values) if values and subject != other else None


def _times(rounds: Sequence[Round], key: str, subject: str, others: Sequence[str]) -> Spread | None:
    """How many times of the best of others that have the figure, where that is not zero."""
    values = []
    for taken in rounds:
        theirs = [taken[other] for other in others if other in taken]
        best = min((figures[key] for figures in theirs if key in figures), default=0.0)
        if best and key in taken[subject]:
            values.append(taken[subject][key] / best)
    return Spread.of(values) if values and subject not in others else None
