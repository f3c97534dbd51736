"""Readings of a process from the operating system."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Reading",
    "cpu_seconds",
    "descendants",
    "memory_mb",
    "peak_memory_mb",
    "rates",
    "read",
    "terminate_at",
    "thread_count",
    "wait_until_quiet",
]

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Reading:
    """The counters of a process at one moment."""

    at: float
    cpu: float
    switches: Mapping[int, int]


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads, ended ones included.

    The process's CPU clock counts nanoseconds; ``utime`` and ``stime`` in ``/proc`` are the same
    count in ticks of 10 ms, a third of what an idle Orthanc may differ by in half a minute.
    """
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def read(pid: int) -> Reading:
    """Read the counters now."""
    return Reading(time.monotonic(), cpu_seconds(pid), _voluntary_switches(pid))


def wait_until_quiet(
    processor_time: Callable[[], float], share: float, seconds: float, within: float
) -> None:
    """Until next to nothing is done.

    Parameters
    ----------
    processor_time
        Seconds so far.
    share
        Less of a core than this is next to nothing, for so many seconds.

    Raises
    ------
    TimeoutError
        It does not come to rest in time.
    """
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        before = processor_time()
        time.sleep(seconds)
        if processor_time() - before < share * seconds:
            return
    raise TimeoutError(f"it does not come to rest within {within:g} s")


def rates(before: Reading, after: Reading) -> tuple[float, float]:
    """Percent of one core, and wake-ups a second, between two readings.

    A thread that goes to sleep is counted once in ``voluntary_ctxt_switches``, which makes as many
    wake-ups.
    """
    seconds = after.at - before.at
    woken = sum(count - before.switches.get(task, 0) for task, count in after.switches.items())
    return 100 * (after.cpu - before.cpu) / seconds, woken / seconds


def memory_mb(pid: int) -> float:
    """Resident memory, in millions of bytes."""
    return int(_field(Path(f"/proc/{pid}/status"), "VmRSS")) * 1024 / 1e6


def peak_memory_mb(pid: int) -> float:
    """The most resident memory that it had until now, in millions of bytes."""
    return int(_field(Path(f"/proc/{pid}/status"), "VmHWM")) * 1024 / 1e6


def descendants(pid: int) -> Iterator[int]:
    """The processes that it started, and those that they started."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            for child in map(int, task.read_text().split()):
                yield child
                yield from descendants(child)


def thread_count(pid: int) -> int:
    """Its threads."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def terminate_at(moments: Mapping[int, float], wait: float = 60) -> dict[int, float]:
    """Send SIGTERM to each process at its moment of the wall clock; seconds until each has ended.

    The processes are children and stay to be reaped.
    """
    descriptors = {os.pidfd_open(pid): pid for pid in moments}
    watch = select.poll()
    for descriptor in descriptors:
        watch.register(descriptor, select.POLLIN)
    sent: dict[int, float] = {}
    ended: dict[int, float] = {}
    deadline = time.monotonic() + max(moments.values()) - time.time() + wait
    while len(ended) < len(moments):
        due = [moments[pid] for pid in moments if pid not in sent]
        pause = min(due) - time.time() if due else deadline - time.monotonic()
        for descriptor, _ in watch.poll(max(0.0, pause * 1000)):
            pid = descriptors[descriptor]
            if pid not in sent:
                raise ChildProcessError(f"process {pid} has ended before it was told to")
            ended[pid] = time.monotonic() - sent[pid]
            watch.unregister(descriptor)
            os.close(descriptor)
        for pid, moment in moments.items():
            if pid not in sent and time.time() >= moment:
                sent[pid] = time.monotonic()
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{set(moments) - set(ended)} do not stop")
    return ended


def _voluntary_switches(pid: int) -> dict[int, int]:
    switches = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
            switches[int(task.name)] = int(_field(task / "status", "voluntary_ctxt_switches"))
    return switches


def _field(status: Path, name: str) -> str:
    for line in status.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.split()[0]
    raise ValueError(f"{status} has no {name}")
