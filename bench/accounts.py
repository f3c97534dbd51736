"""What many accounts cost: until all are published, and for ever after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from bench.frame import Figure, Figures, Goal, Measurement, Quote, Round
from bench.machine import cpu_seconds, memory_mb, rates, read, thread_count
from bench.place import PUBLISHED, READY, Instance, Place

__all__ = ["crowd", "measurement"]

EMPTY = "empty script"
CPP = "C++ plugin, 100 accounts (measured elsewhere)"
CPP_ONE = "C++ plugin, 1 account (measured elsewhere)"
CPP_NONE = "Orthanc without it (measured elsewhere)"
NUMBERS = (1, 100, 1000)
CROWD = 1000

# Long enough for the first look at the definitions, and for threads without work to have ended.
SETTLE = 7.0
# As long as the default refresh interval, so that it holds exactly one look at the definitions.
WINDOW = 60
CROWD_WINDOW = 10

STARTING = (
    Figure("first", "Process start to first server published (empty: ready)", "ms"),
    Figure("all", "Process start to all servers published (empty: ready)", "ms"),
    Figure("work", "CPU time until then", "ms"),
)
IDLE = (
    Figure("threads", "Threads when idle", "threads"),
    Figure("memory", "Resident memory when idle", "MB", 1),
    Figure("cpu", "CPU when idle", "% of a core", 3),
    Figure("wakeups", "Wake-ups when idle", "a second", 1),
)

QUOTES = (
    Quote("all", CPP_NONE, 67),
    Quote("all", CPP_ONE, 76),
    Quote("all", CPP, 315),
    Quote("threads", CPP, 161),
    Quote("memory", CPP_ONE, more=4.3),
    Quote("memory", CPP, more=11),
    Quote("cpu", CPP_NONE, 0.30),
    Quote("cpu", CPP, 3.1),
    Quote("wakeups", CPP, 1070),
)

Maker = Callable[[], Instance]


def ours(accounts: int) -> str:
    """The name of the plugin with so many accounts."""
    return f"orthanc-gcp, {accounts:,} account{'s' * (accounts > 1)}"


def peer(accounts: int) -> str:
    """The name of the thread-per-account script with so many accounts."""
    return f"thread per account, {accounts:,} account{'s' * (accounts > 1)}"


def measurement(place: Place) -> Measurement:
    """Each Orthanc is started alone; then all of them are idle at the same time."""
    counts = {EMPTY: 0}
    makers: dict[str, Maker] = {EMPTY: place.empty}
    for number in NUMBERS:
        counts[ours(number)] = number
        makers[ours(number)] = partial(place.ours, number)
    for number in NUMBERS[:-1]:
        counts[peer(number)] = number
        makers[peer(number)] = partial(place.peer, number)

    def taken(order: Sequence[str]) -> Round:
        figures = {}
        for name in order:
            with makers[name]() as instance:
                figures[name] = _started(instance, counts[name])
        for name, idle in _idle_together(order, makers, counts).items():
            figures[name].update(idle)
        return figures

    return Measurement(
        "accounts",
        "One, a hundred and a thousand accounts",
        list(makers),
        (*STARTING, *IDLE),
        taken,
        peers=tuple((ours(number), peer(number)) for number in NUMBERS[:-1]),
        goals=_goals(),
        quotes=QUOTES,
    )


def crowd(place: Place) -> Measurement:
    """A thousand threads take minutes to publish their servers: few rounds, a short window."""
    counts = {EMPTY: 0, ours(CROWD): CROWD, peer(CROWD): CROWD}
    makers: dict[str, Maker] = {
        EMPTY: place.empty,
        ours(CROWD): partial(place.ours, CROWD),
        peer(CROWD): partial(place.peer, CROWD),
    }

    def life(name: str) -> Figures:
        with makers[name]() as instance:
            figures = _started(instance, counts[name])
            time.sleep(SETTLE)
            return {**figures, **_idle({name: instance}, CROWD_WINDOW)[name]}

    return Measurement(
        "crowd",
        "A thousand threads beside a thousand accounts",
        list(makers),
        (*STARTING, *IDLE),
        lambda order: {name: life(name) for name in order},
        pairs=1,
        peers=((ours(CROWD), peer(CROWD)),),
    )


def _goals() -> tuple[Goal, ...]:
    return (
        Goal("all", ours(100), 1000),
        Goal("memory", ours(1), 40),
        Goal("memory", ours(1000), 60),
        *(
            Goal(figure, ours(number), most)
            for figure, most in (("cpu", 0.1), ("wakeups", 15))
            for number in NUMBERS
        ),
    )


def _started(instance: Instance, accounts: int) -> Figures:
    instance.wait_until_published(accounts)
    work = 1000 * cpu_seconds(instance.pid)
    if not accounts:
        ready = 1000 * instance.seconds_to(READY)
        return {"first": ready, "all": ready, "work": work}
    return {
        "first": 1000 * instance.seconds_to(PUBLISHED),
        "all": 1000 * instance.seconds_to_last(PUBLISHED),
        "work": work,
    }


def _idle_together(
    order: Sequence[str], makers: Mapping[str, Maker], counts: Mapping[str, int]
) -> Round:
    with ExitStack() as stack:
        instances = {name: stack.enter_context(makers[name]()) for name in order}
        for name, instance in instances.items():
            instance.wait_until_published(counts[name])
        time.sleep(SETTLE)
        return _idle(instances, WINDOW)


def _idle(instances: Mapping[str, Instance], window: float) -> Round:
    """What each process does while nothing happens, all in the same window."""
    before = {name: read(instance.pid) for name, instance in instances.items()}
    time.sleep(window)
    figures = {}
    for name, instance in instances.items():
        cpu, wakeups = rates(before[name], read(instance.pid))
        figures[name] = {
            "threads": thread_count(instance.pid),
            "memory": memory_mb(instance.pid),
            "cpu": cpu,
            "wakeups": wakeups,
        }
    return figures
