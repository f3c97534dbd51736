"""A line that changes at a terminal, lines elsewhere, and nothing for programs."""

from __future__ import annotations

import sys

import pytest

from orthanc_gcp.commands.live import progress as module
from orthanc_gcp.commands.live.progress import ProgressLine, done_by


@pytest.fixture
def seconds(monkeypatch):
    """The clock, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def terminal(monkeypatch, there=True):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: there)


def test_at_a_terminal_one_line_after_a_second(monkeypatch, seconds, capsys):
    terminal(monkeypatch)
    progress, asked = ProgressLine(quiet=True), []

    def words():
        asked.append(1)
        return f"{len(asked)}\x1b[2J"

    for step in (0.9, 0.2, 0.2, 0.4):
        seconds[0] += step
        progress.show(words)
    assert capsys.readouterr().err == "\r\x1b[K1\ufffd[2J\r\x1b[K2\ufffd[2J"
    progress.line("done")
    progress.clear()
    assert capsys.readouterr().err == "\r\x1b[Kdone\n"


def test_elsewhere_a_line_every_ten_seconds(monkeypatch, seconds, capsys):
    terminal(monkeypatch, there=False)
    progress, quiet = ProgressLine(), ProgressLine(quiet=True)
    assert (progress.is_quiet, quiet.is_quiet) == (False, True)
    for step in (9.0, 2.0, 9.0, 2.0):
        seconds[0] += step
        progress.show(lambda: f"at {seconds[0]:.0f}")
        quiet.show(lambda: "never")
    progress.clear()
    assert capsys.readouterr().err == "at 1011\nat 1022\n"


@pytest.mark.parametrize(
    "known", [(0, 10, 5), (10, 10, 5), (11, 10, 5), (5, 10, 0), (-1, 5, 5), (1e-300, 1e300, 1)]
)
def test_no_end_is_invented(known):
    assert done_by(*known) == ""


def test_the_end_if_it_goes_on_so():
    assert done_by(1, 2, 0.001).startswith(", done by ")
