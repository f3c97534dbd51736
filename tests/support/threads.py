"""A machine on which no thread can be started, as at a limit of tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

__all__ = ["no_threads", "without_threads"]


@pytest.fixture
def no_threads() -> Iterator[Callable[[], object]]:
    """Lets no thread start until it is called."""
    before = threading.stack_size(1 << 46)  # no machine has room for one
    yield lambda: threading.stack_size(before)
    threading.stack_size(before)


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
