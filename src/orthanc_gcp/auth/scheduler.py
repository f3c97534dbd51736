"""One thread that waits for the time of each job, and a few that run them.

However many accounts there are, an idle connector is a single sleeping thread. Jobs may hang (a
token request to a host that does not answer): those that do are given a substitute, so that the
others go on, and of those that are known to hang only a few run at once.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable

from orthanc_gcp.clock import Clock
from orthanc_gcp.logs import places
from orthanc_gcp.outages import Outage

__all__ = ["Scheduler"]

Job = Callable[[], None]

_log = logging.getLogger(__name__)

# Waiting counts time on a clock that stops while the machine sleeps; waking this often keeps
# the schedule right after it wakes up.
_LONGEST_WAIT = 2.0
_WAIT_WHILE_JOBS_WAIT = 0.25
_IDLE_THREAD_LIVES = 5.0


class Scheduler:
    """Runs jobs at their time, on daemon threads that come and go with the work.

    Parameters
    ----------
    workers
        Jobs that run at once, not counting those that hang.
    hangs_after
        Seconds after which a running job counts as hanging and is given a substitute.
    most_threads
        Bound on all threads, hanging ones included.
    most_slow
        Bound on jobs that run at once among those announced as slow.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        workers: int = 16,
        hangs_after: float = 2.0,
        most_threads: int = 256,
        most_slow: int = 32,
    ) -> None:
        self._clock = clock
        self._workers, self._hangs_after = workers, hangs_after
        self._most_threads, self._most_slow = most_threads, most_slow
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
        down, up = "what is due cannot be done", "what is due is done again"
        self._outage = Outage(_log, down, up, clock)

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
            The job is known to take long: few of its kind run at once.
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
                self._start_threads(now)
                self._tick.wait(self._until_next(now))

    def _until_next(self, now: float) -> float:
        if self._ready or self._ready_slow:
            return _WAIT_WHILE_JOBS_WAIT
        return max(0.0, min(_LONGEST_WAIT, self._due[0][0] - now)) if self._due else _LONGEST_WAIT

    def _start_threads(self, now: float) -> None:
        """Have enough threads for the jobs that are due."""
        jobs = len(self._ready) + min(
            len(self._ready_slow), max(0, self._most_slow - self._slow_running)
        )
        self._work.notify(jobs)
        hanging = sum(now - started > self._hangs_after for started in self._started.values())
        free = self._workers - (self._threads - hanging)
        wanted = min(jobs - self._idle, free, self._most_threads - self._threads)
        for _ in range(max(0, wanted)):
            if not self._start_thread():
                break

    def _start_thread(self) -> bool:
        """Start one more; False where there can be none, as at a limit of tasks: that may pass."""
        thread = threading.Thread(target=self._worker, name="gcp-worker", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            words = f"{error} (is there a limit of tasks, such as TasksMax of systemd?)"
            self._outage.failed(words, _WAIT_WHILE_JOBS_WAIT)
            return False
        self._outage.ended()
        self._threads += 1  # which it waits for: the lock is held here
        return True

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
                except Exception as error:
                    _log.error("a scheduled job failed\n%s", places(error))
                finally:
                    self._work.acquire()
                    self._slow_running -= slow
                    del self._started[me]
            self._threads -= 1

    def _next(self) -> tuple[bool, Job] | None:
        """The next job, waiting for it a while; None ends the thread."""
        waits = True
        while not self._stopped:
            if self._ready:
                return False, self._ready.popleft()
            if self._ready_slow and self._slow_running < self._most_slow:
                return True, self._ready_slow.popleft()
            if not waits:
                break
            self._idle += 1
            waits = self._work.wait(_IDLE_THREAD_LIVES)
            self._idle -= 1
        return None
