"""That something goes on is said while nothing comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from orthanc_gcp.clock import age
from orthanc_gcp.commands.live.progress import ProgressLine

__all__ = ["busy", "while_waiting"]

Item = TypeVar("Item")

TICK = 0.25
"""Seconds between two looks at whether something is to be said."""


def while_waiting(items: Iterable[Item], words: str, *, quiet: bool = False) -> Iterator[Item]:
    """The same items; whenever one takes longer than a second, it is said for how long already.

    Parameters
    ----------
    words
        What goes on.
    quiet
        Whether nothing is said where there is no terminal.
    """
    following = iter(items)
    while True:
        with busy(words, quiet=quiet):
            try:
                item = next(following)
            except StopIteration:
                return
        yield item


@contextmanager
def busy(words: str, *, quiet: bool = False) -> Iterator[None]:
    """Say that something goes on once it takes longer than a second, and for how long already."""
    progress, began, ended = ProgressLine(quiet=quiet), time.monotonic(), threading.Event()

    def said() -> str:
        return f"{words}: {age(time.monotonic() - began)}"

    def tick() -> None:
        while not ended.wait(TICK):
            progress.show(said)

    thread = threading.Thread(target=tick, name="gcp-busy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        progress.clear()
