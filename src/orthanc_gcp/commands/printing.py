"""What is printed at a terminal, which takes some characters for orders.

A UID, a patient's own software, a store's answer or the name of a file may hold control characters:
a terminal would clear the screen, write its title, or show a text in another order than it is in
(ECMA-48; Unicode Standard Annex 9).
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "cleaned",
    "console",
    "end_without_reader",
    "print_any_text",
    "reader_has_left",
    "say",
]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LAYOUT = "\n\t"
_ORDERS = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""The Unicode categories of what does something else than to be seen."""


def cleaned(text: str) -> str:
    """A text in which each character that a terminal might obey is replaced (U+FFFD)."""
    return text.translate(_SHOWN)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text, cleaned, on standard output or standard error."""
    click.echo(cleaned(text), err=err, nl=nl)


def print_any_text() -> None:
    """Have what standard output has no characters for written as ``\\u65e5``, not end the command.

    A file or a pipe on Windows has a code page (Python, "sys.stdout"), and so have old locales.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def console(width: int | None = None) -> Console:
    """A console for tables; without its reader it fails, and does not end the process with 1."""
    from rich.console import Console

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    return _Console(highlight=False, width=width)


def reader_has_left() -> bool:
    """Whether nobody reads standard output or standard error any more (poll(2), ``POLLERR``)."""
    if not hasattr(select, "poll"):  # Windows does not say
        return True
    asked = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # it is none of the system's files
            asked.register(stream.fileno(), 0)
    return any(events & select.POLLERR for _, events in asked.poll(0))


def end_without_reader() -> None:
    """End a command that prints something now and then, where nobody reads it any more.

    Raises
    ------
    BrokenPipeError
        That is so; otherwise it shows only when the next is printed, which may never be.
    """
    if hasattr(select, "poll") and reader_has_left():
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class _Shown(dict[int, str]):
    """Each character as it is shown, looked up once."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_order = character not in _LAYOUT and unicodedata.category(character) in _ORDERS
        self[code] = _REPLACEMENT if is_order else character
        return self[code]


_SHOWN = _Shown()
