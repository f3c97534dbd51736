"""The lines that the emulator's process writes."""

from __future__ import annotations

import logging
import sys

from orthanc_gcp.emulator.log import LINES, PERIOD, LineLimit, PrintableFormatter


def record(text: str, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.WARNING, "", 0, "%s", (text,), None)
    made.__dict__.update(more)
    return made


def test_a_record_is_one_line_without_control_characters() -> None:
    hostile = "a\r\nb\x1b[31m\u202e\x85\u2028\0é"
    line = PrintableFormatter("%(message)s").format(record(hostile))
    assert line == r"a\r\nb\x1b[31m\u202e\x85\u2028\x00é"


def test_so_is_each_line_of_a_traceback() -> None:
    try:
        raise ValueError("a\x1b[31m\r")
    except ValueError:
        text = PrintableFormatter("%(message)s").format(record("x", exc_info=sys.exc_info()))
    lines = text.split("\n")
    assert lines[0] == "x"
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"ValueError: a\x1b[31m\r"
    assert all(line.isprintable() for line in lines)


def test_what_is_left_out_is_counted() -> None:
    times = [0.0]
    limit, formatter = LineLimit(lambda: times[0]), PrintableFormatter("%(message)s")
    passed = [limit.filter(record("x")) for _ in range(LINES + 5)]
    assert (passed.count(True), passed[-1]) == (LINES, False)
    times[0] = PERIOD
    next_one = record("x")
    assert limit.filter(next_one)
    assert formatter.format(next_one) == "x (before it, 5 were left out)"
    last = record("x")
    assert limit.filter(last)
    assert formatter.format(last) == "x"
