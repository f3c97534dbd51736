"""How long Orthanc takes to stop, idle and while a token request hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle

from bench.frame import Figure, Goal, Measurement, Quote, Round
from bench.machine import terminate_at
from bench.place import READY, Instance, Place

__all__ = ["measurement"]

EMPTY = "empty script"
OURS, OURS_HANGING = "orthanc-gcp", "orthanc-gcp, token request hangs"
PEER, PEER_HANGING = "thread per account", "thread per account, token request hangs"
CPP = "C++ plugin, token request hangs (measured elsewhere)"

# What Orthanc waits for when it stops are loops of up to a second that began when it started. In
# one round all subjects stop at the same age; the rounds go through a second in steps.
AGE = 1.5
STEPS = 9


def measurement(place: Place) -> Measurement:
    """SIGTERM to the end of the process; all subjects of a round run at the same time."""
    makers: dict[str, Callable[[], Instance]] = {
        EMPTY: place.empty,
        OURS: lambda: place.ours(1),
        OURS_HANGING: lambda: place.ours(1, "hanging"),
        PEER: lambda: place.peer(1),
        PEER_HANGING: lambda: place.peer(1, "hanging"),
    }
    ages = cycle(_ages())

    def taken(order: Sequence[str]) -> Round:
        age = next(ages)
        with ExitStack() as stack:
            instances = {name: stack.enter_context(makers[name]()) for name in order}
            moments = {
                instance.pid: instance.stamps(READY)[0] + age for instance in instances.values()
            }
            ended = terminate_at(moments)
            stopped = {name: ended[instance.pid] for name, instance in instances.items()}
            for name, instance in instances.items():
                _, code = instance.stop()
                assert code == 0, f"{name} ended with exit code {code}:\n{instance.log}"
            return {name: {"stop": seconds} for name, seconds in stopped.items()}

    return Measurement(
        "stop",
        "Stop",
        list(makers),
        (Figure("stop", "SIGTERM to the end of the process", "s", 2),),
        taken,
        pairs=STEPS,
        peers=((OURS, PEER), (OURS_HANGING, PEER_HANGING)),
        goals=(Goal("stop", OURS, 0.5), Goal("stop", OURS_HANGING, 0.5)),
        quotes=(Quote("stop", CPP, 43),),
    )


def _ages() -> Iterator[float]:
    """Ages spread over a second, in an order that jumps to and fro."""
    for step in range(STEPS):
        yield AGE + step * 4 % STEPS / STEPS
