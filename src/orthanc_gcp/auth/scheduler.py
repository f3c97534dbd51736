"""One thread that knows when, and a few that do.

However many accounts there are, an idle connector is a single sleeping thread. Jobs may hang (a
token request to a host that does not answer): those that do are given a substitute, so that the
others go on, and jobs that are known to hang share a limited lane.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable

from orthanc_gcp.clock import Clock

__all__ = ["Scheduler"]

Job = Callable[[], None]

_log = logging.getLogger(__name__)

# Waiting counts time on a clock that stops while the machine sleeps; looking this often keeps
# the schedule right after it wakes up.
_LONGEST_NAP = 2.0
_NAP_WHILE_JOBS_WAIT = 0.25
_IDLE_THREAD_LIVES = 5.0


class Scheduler:
    """Runs jobs at their time, on daemon threads that come and go with the work.

    Parameters
    ----------
    workers
        Jobs that run at once, not counting those that hang.
    patience
        Seconds after which a running job counts as hanging and is given a substitute.
    most_threads
        Bound on all threads, hanging ones included.
    slow_lane
        Bound on jobs that run at once among those announced as slow.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        workers: int = 16,
        patience: float = 2.0,
        most_threads: int = 256,
        slow_lane: int = 32,
    ) -> None:
        self._clock = clock
        self._workers, self._patience = workers, patience
        self._most_threads, self._slow_lane = most_threads, slow_lane
        lock = threading.Lock()
        self._tick, self._work = threading.Condition(lock), threading.Condition(lock)
        self._order = itertools.count()
        self._due: list[tuple[float, int, bool, Job]] = []
        self._ready: deque[Job] = deque()
        self._ready_slow: deque[Job] = deque()
        self._slow_running = 0
        self._started: dict[threading.Thread, float] = {}
        self._threads = self._idle = 0
        self._stopped = False

    def start(self) -> None:
        """Begin; jobs may be scheduled before."""
        threading.Thread(target=self._run, name="gcp-schedule", daemon=True).start()

    def stop(self) -> None:
        """No job starts any more; what runs is left to end, or to the end of the process."""
        with self._tick:
            self._stopped = True
            self._tick.notify_all()
            self._work.notify_all()

    def at(self, when: float, job: Job, *, slow: bool = False) -> None:
        """Run a job once, at a time of the clock.

        Parameters
        ----------
        slow
            The job is known to take long and takes its turn in the slow lane.
        """
        with self._tick:
            heapq.heappush(self._due, (when, next(self._order), slow, job))
            self._tick.notify()

    def _run(self) -> None:
        with self._tick:
            while not self._stopped:
                now = self._clock.now()
                while self._due and self._due[0][0] <= now:
                    _, _, slow, job = heapq.heappop(self._due)
                    (self._ready_slow if slow else self._ready).append(job)
                self._man(now)
                self._tick.wait(self._nap(now))

    def _nap(self, now: float) -> float:
        if self._ready or self._ready_slow:
            return _NAP_WHILE_JOBS_WAIT
        return max(0.0, min(_LONGEST_NAP, self._due[0][0] - now)) if self._due else _LONGEST_NAP

    def _man(self, now: float) -> None:
        """See to it that enough threads look for work."""
        jobs = len(self._ready) + min(
            len(self._ready_slow), max(0, self._slow_lane - self._slow_running)
        )
        self._work.notify(jobs)
        hanging = sum(now - started > self._patience for started in self._started.values())
        free = self._workers - (self._threads - hanging)
        wanted = min(jobs - self._idle, free, self._most_threads - self._threads)
        for _ in range(max(0, wanted)):
            self._threads += 1
            threading.Thread(target=self._worker, name="gcp-worker", daemon=True).start()

    def _worker(self) -> None:
        me = threading.current_thread()
        with self._work:
            while (job := self._next()) is not None:
                slow, run = job
                self._slow_running += slow
                self._started[me] = self._clock.now()
                self._work.release()
                try:
                    run()
                except Exception:
                    _log.exception("a scheduled job failed")
                finally:
                    self._work.acquire()
                    self._slow_running -= slow
                    del self._started[me]
            self._threads -= 1

    def _next(self) -> tuple[bool, Job] | None:
        """The next job, waiting for it a while; None ends the thread."""
        patient = True
        while not self._stopped:
            if self._ready:
                return False, self._ready.popleft()
            if self._ready_slow and self._slow_running < self._slow_lane:
                return True, self._ready_slow.popleft()
            if not patient:
                break
            self._idle += 1
            patient = self._work.wait(_IDLE_THREAD_LIVES)
            self._idle -= 1
        return None
