"""How long Orthanc takes to start with one account, and what the plugin weighs."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.frame import Figure, Figures, Goal, Measurement, Quote, Subject, in_turn
from bench.machine import memory_mb
from bench.place import BEGUN, INITIALISING, PUBLISHED, READY, SCRIPT_DONE, Instance, Place

__all__ = ["measurement"]

EMPTY = "empty script"
OURS, OURS_TLS = "orthanc-gcp", "orthanc-gcp, HTTPS"
PEER = "thread per account"
CPP = "C++ plugin (measured elsewhere)"
CPP_NONE = "Orthanc without it (measured elsewhere)"
SETTLE = 0.5


def measurement(place: Place) -> Measurement:
    """From the start of the process to the first server, with one account."""
    subjects = (
        Subject(EMPTY, lambda: _empty(place.empty())),
        Subject(OURS, lambda: _ours(place.ours(1))),
        Subject(OURS_TLS, lambda: _ours(place.ours(1, "encrypted"))),
        Subject(PEER, lambda: _with_account(place.peer(1))),
    )
    return Measurement(
        "start",
        "Start with one account",
        [subject.name for subject in subjects],
        (
            Figure("published", "Process start to server published (empty: ready)", "ms"),
            Figure("ready", "Process start to Orthanc ready", "ms"),
            Figure("begun", "Python starts to connector started (empty: script ran)", "ms"),
            Figure("memory", "Resident memory, half a second later", "MB", 1),
        ),
        in_turn(subjects),
        pairs=15,
        peers=((OURS, PEER), (OURS_TLS, PEER)),
        goals=(
            Goal("published", OURS, 250),
            Goal("published", OURS_TLS, 250),
            Goal("begun", OURS, 400),
            Goal("memory", OURS, 40),
        ),
        quotes=(Quote("published", CPP, 76), Quote("published", CPP_NONE, 67)),
    )


def _empty(instance: Instance) -> Figures:
    with instance:
        ready = 1000 * instance.seconds_to(READY)
        begun = _milliseconds(instance, INITIALISING, SCRIPT_DONE)
        return {"published": ready, "ready": ready, "begun": begun, "memory": _memory(instance)}


def _ours(instance: Instance) -> Figures:
    return _with_account(instance, lambda: {"begun": _milliseconds(instance, INITIALISING, BEGUN)})


def _with_account(instance: Instance, more: Callable[[], Figures] = dict) -> Figures:
    with instance:
        instance.wait_until_published(1)
        return {
            "published": 1000 * instance.seconds_to(PUBLISHED),
            "ready": 1000 * instance.seconds_to(READY),
            "memory": _memory(instance),
            **more(),
        }


def _milliseconds(instance: Instance, first: str, last: str) -> float:
    return 1000 * (instance.stamps(last)[0] - instance.stamps(first)[0])


def _memory(instance: Instance) -> float:
    time.sleep(SETTLE)
    return memory_mb(instance.pid)
