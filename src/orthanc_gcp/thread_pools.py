"""Tasks of thread pools, where no thread may be started: at a limit of tasks, as a container has.

A ThreadPoolExecutor that can start none raises, and has the task in its queue all the same, where
the next thread finds it. Who has begun it anew by then would have it done twice.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

__all__ = ["is_shut_down", "submit"]

Result = TypeVar("Result")


def submit(pool: Executor, task: Callable[[], Result]) -> Future[Result]:
    """Have a thread of a pool do something.

    Raises
    ------
    RuntimeError
        It is never done: no thread can be started for it, or the pool is shut down.
    """
    done = Future[Result]()

    def run() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            result = task()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)

    try:
        pool.submit(run)
    except RuntimeError:
        if done.cancel():  # else another thread has begun with it all the same
            raise
    return done


def is_shut_down(error: RuntimeError) -> bool:
    """Whether a pool has refused a task as it takes none any more (``concurrent.futures``)."""
    return str(error).startswith("cannot schedule new futures")
