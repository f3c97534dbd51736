"""A clock that a test moves, and a schedule on it: hours of tokens in milliseconds."""

from __future__ import annotations

import heapq
import itertools
from datetime import UTC, datetime, timedelta


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0
        self.wall = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> float:
        return self.time

    def utc(self) -> datetime:
        return self.wall + timedelta(seconds=self.time)


class FakeSchedule:
    """Runs jobs one after the other; a job may let time pass."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.jobs: list = []
        self.order = itertools.count()

    def at(self, when, job, *, slow=False) -> None:
        heapq.heappush(self.jobs, (when, next(self.order), job))

    def run_until(self, end: float) -> None:
        while self.jobs and self.jobs[0][0] <= end:
            when, _, job = heapq.heappop(self.jobs)
            self.clock.time = max(self.clock.time, when)
            job()
        self.clock.time = max(self.clock.time, end)
