"""How far something is, on the standard error: a line that changes at a terminal, lines elsewhere.

What a command is for goes to the standard output, and has nothing of this in it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click

from orthanc_gcp.commands.formatting import moment
from orthanc_gcp.commands.printing import cleaned, say

__all__ = ["ProgressLine", "done_by"]

FIRST_AFTER = 1.0
"""Seconds that something may take before it is said how far it is."""
EVERY, EVERY_LIVE = 10.0, 0.5
"""Seconds between two lines: in a file or a pipe, and at a terminal."""
_CLEAR = "\r\x1b[K"
"""Makes room in a line of a terminal."""


class ProgressLine:
    """What is said while something goes on.

    Parameters
    ----------
    quiet
        Whether it says nothing where there is no terminal, as for programs.
    every_live
        Seconds between two changes at a terminal.
    """

    def __init__(self, *, quiet: bool = False, every_live: float = EVERY_LIVE) -> None:
        self._live = sys.stderr.isatty()
        self._quiet = quiet and not self._live
        self._every = every_live if self._live else EVERY
        self._shown = time.monotonic() + (FIRST_AFTER - self._every if self._live else 0.0)
        self._dirty = False

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is said."""
        return self._quiet

    def show(self, words: Callable[[], str]) -> None:
        """Say how far it is, if that is due; the words are asked for only then."""
        now = time.monotonic()
        if self._quiet or now - self._shown < self._every:
            return
        self._shown = now
        if self._live:
            self._dirty = True
            click.echo(f"{_CLEAR}{cleaned(words())}", nl=False, err=True)
        else:
            say(words(), err=True)

    def line(self, words: str) -> None:
        """A line of its own, on the standard error."""
        self.clear()
        say(words, err=True)

    def clear(self) -> None:
        """Make room for other lines."""
        if self._dirty:
            click.echo(_CLEAR, nl=False, err=True)
            self._dirty = False


def done_by(done: float, total: float, seconds: float) -> str:
    """When all will be done if it goes on so, as the end of a line; nothing while unknown.

    Parameters
    ----------
    done, total
        So much was done in so many seconds, of so much.
    """
    if done <= 0 or seconds <= 0 or done >= total:
        return ""
    now = datetime.now(UTC)
    try:
        end = now + timedelta(seconds=(total - done) * seconds / done)
    except OverflowError:
        return ""
    return f", done by {moment(end.isoformat(), now)}"
