"""A machine on which no thread can be started, as at a limit of tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

__all__ = ["no_thread_left", "no_threads", "without_threads"]


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Lets no thread of this process start."""
    before = threading.stack_size(1 << 46)  # no machine has room for one
    try:
        yield
    finally:
        threading.stack_size(before)


@pytest.fixture
def no_threads() -> Iterator[Callable[[], object]]:
    """Lets no thread start until it is called."""
    with ExitStack() as limit:
        limit.enter_context(no_thread_left())
        yield limit.close


@contextmanager
def without_threads(prefix: str, but: int = 0) -> Iterator[None]:
    """Lets none start whose name begins so, but for the first ones."""
    begin, left = threading.Thread.start, [None] * but

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith(prefix) and not left:
            raise RuntimeError("can't start new thread")
        if thread.name.startswith(prefix):
            left.pop()
        begin(thread)

    with pytest.MonkeyPatch.context() as there:
        there.setattr(threading.Thread, "start", start)
        yield
