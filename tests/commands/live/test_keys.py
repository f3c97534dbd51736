"""A key ends what waits, and the terminal is as it was."""

from __future__ import annotations

import io
import os
import pty
import sys
import termios
import threading
import time

import pytest

from orthanc_gcp.commands.live.keys import quit_key


@pytest.fixture
def terminal(monkeypatch):
    """A terminal as the standard input; what somebody types at."""
    primary, secondary = pty.openpty()
    with os.fdopen(secondary) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield primary
    os.close(primary)


@pytest.mark.parametrize(("typed", "quits"), [(b"q", True), (b"xQ", True), (b"xyz\x1b[A", False)])
def test_only_one_key_ends_it(terminal, typed, quits):
    with quit_key() as is_quit:
        os.write(terminal, typed)
        assert is_quit(0.1 if not quits else 20) is quits


def test_a_key_that_comes_later(terminal):
    with quit_key() as is_quit:
        threading.Timer(0.1, os.write, [terminal, b"q"]).start()
        assert is_quit(20)


def test_the_terminal_is_as_before(terminal):
    before = termios.tcgetattr(sys.stdin)
    with pytest.raises(KeyboardInterrupt), quit_key():
        during = termios.tcgetattr(sys.stdin)
        raise KeyboardInterrupt
    assert not during[3] & termios.ICANON
    assert during[3] & termios.ISIG
    assert termios.tcgetattr(sys.stdin) == before


def test_without_a_terminal_it_waits(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("q"))
    began = time.monotonic()
    with quit_key() as is_quit:
        assert is_quit(0.05) is False
    assert time.monotonic() - began >= 0.05


def test_where_there_are_no_terminals_of_that_kind(monkeypatch):
    monkeypatch.setitem(sys.modules, "termios", None)
    with quit_key() as is_quit:
        assert is_quit(0.0) is False
