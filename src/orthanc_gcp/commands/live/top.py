"""``orthanc-gcp top``: all of it in one screen, as it goes on."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orthanc_gcp.clock import age
from orthanc_gcp.commands.arguments import (
    config_argument,
    fail,
    json_option,
    needs,
    orthanc_option,
    orthanc_variable,
    settings_of,
)
from orthanc_gcp.commands.formatting import count, moment
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.commands.live.activity import Activity
from orthanc_gcp.commands.live.figures import LedgerFigures
from orthanc_gcp.commands.live.keys import quit_key
from orthanc_gcp.commands.live.status import MEASURE, console, moving, page
from orthanc_gcp.commands.live.tokens import Tokens
from orthanc_gcp.commands.printing import cleaned, say

if TYPE_CHECKING:
    from rich.console import Group

    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["top"]

EVERY = 2.0
"""Seconds between two readings at a terminal."""
_TIMEOUT = 5.0
"""Seconds that Orthanc may take to say how the tokens are."""
_WIDE = 100
"""Columns of a terminal from which on there are bars."""

Document = dict[str, Any]
Line = tuple[str, str]
"""Words, and how they look."""


@click.command()
@config_argument
@orthanc_option("top")
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 3600),
    metavar="SECONDS",
    show_default="2 at a terminal; elsewhere it is shown once",
    help="How often it is read again.",
)
@json_option
@needs("worker")
def top(config: Path, orthanc: str | None, interval: float | None, as_json: bool) -> None:
    """Show all of it live: accounts, tokens, stores, rates, problems, workers, and what runs.

    q or Ctrl-C ends it. Where the output is no terminal, it is shown once, or at each interval.
    """
    from orthanc_gcp.orthanc import access

    if interval is not None and math.isnan(interval):
        fail("--interval: expected a number of seconds")
    settings = settings_of([config])
    tokens = Tokens(
        lambda: access.client(settings, orthanc, variable=orthanc_variable("top"), timeout=_TIMEOUT)
    )
    with open_ledger(settings) as ledger:
        reading = _Reading(ledger, settings, tokens)
        with suppress(KeyboardInterrupt), _terminated_as_interrupted():
            if sys.stdout.isatty() and not as_json and not console().is_dumb_terminal:
                _live(reading, interval or EVERY)
            elif interval is not None:
                _repeated(reading, interval, as_json=as_json)
            else:
                _once(reading, as_json=as_json)


class _Reading:
    """All that is shown, read again and again."""

    def __init__(self, ledger: Ledger, settings: Settings, tokens: Tokens) -> None:
        self.tokens = tokens
        self._figures, self._activity = LedgerFigures(ledger, settings), Activity(ledger, settings)
        self._last: Document | None = None

    def read(self) -> Document:
        """What there is by now, for programs.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        problem = self.tokens.problem or None
        tokens = {"Tokens": self.tokens.found, "TokensProblem": problem}
        self._last = {**self._figures.read(), **tokens, **self._activity.read()}
        return self._last

    def read_or_last(self) -> tuple[Document, str]:
        """The same, and nothing; of a ledger that went away, what there was, and what is wrong.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger was never there.
        """
        from sqlalchemy.exc import SQLAlchemyError

        from orthanc_gcp.ledger.database import words_of

        try:
            return self.read(), ""
        except SQLAlchemyError as error:
            if self._last is None:
                raise
            return self._last, f"the ledger cannot be reached: {words_of(error)}"


def _live(reading: _Reading, interval: float) -> None:
    """A screen of its own until ``q`` is pressed; it has the size that the terminal has."""
    from rich.live import Live

    with (
        reading.tokens.asked_again(),
        quit_key() as is_quit,
        Live(console=console(), auto_refresh=False, screen=True) as live,
    ):
        while True:
            began = time.monotonic()
            document, problem = reading.read_or_last()
            width = live.console.size.width
            live.update(_screen(document, problem, bars=width >= _WIDE), refresh=True)
            if is_quit(max(interval, time.monotonic() - began)):
                return


def _repeated(reading: _Reading, interval: float, *, as_json: bool) -> None:
    with reading.tokens.asked_again():
        while True:
            _print(reading.read(), as_json=as_json, indent=None)
            time.sleep(interval)


def _once(reading: _Reading, *, as_json: bool) -> None:
    reading.tokens.ask()
    document = reading.read()
    if document["Worker"] and any(moving(each) for each in document["Accounts"]):
        time.sleep(MEASURE)  # a rate is the difference of two readings
        document = reading.read()
    _print(document, as_json=as_json, indent=2)


def _print(document: Document, *, as_json: bool, indent: int | None) -> None:
    if as_json:
        say(json.dumps(document, indent=indent))
    else:
        console().print(_screen(document, "", bars=False))


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Have SIGTERM end it as Ctrl-C does, so that the terminal is as it was before."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _screen(document: Mapping[str, Any], problem: str, *, bars: bool) -> Group:
    from rich.console import Group
    from rich.text import Text

    lines = [Text(cleaned(words), style) for words, style in _lines(document)]
    if problem:
        lines.insert(0, Text(cleaned(problem), "red"))
    title = Text(f"orthanc-gcp  {datetime.now(UTC).astimezone():%Y-%m-%d %H:%M:%S}", "bold")
    return Group(title, page(document, bars=bars), *lines)


def _lines(document: Mapping[str, Any]) -> Iterator[Line]:
    """What there is below the accounts' figures."""
    yield from _of_tokens(document)
    for name, words in (
        ("Senders", _sender),
        ("Orthancs", _orthanc),
        ("Backfills", _backfill),
        ("Retrievals", _retrieval),
        ("Audits", _audit),
    ):
        for one in document[name]:
            yield words(one)
    audit = document["BrokenOffAudit"]
    if audit is not None:
        said = f"after {count(audit['Studies'], 'study')}, begun {_time(audit['Began'])}"
        yield f"audit broken off {said}: orthanc-gcp audit --resume goes on", "yellow"


def _of_tokens(document: Mapping[str, Any]) -> Iterator[Line]:
    if document["Tokens"] is None:
        yield f"tokens: not known: {document['TokensProblem']}", "yellow"
        return
    for one in document["Tokens"]:
        left, who = one["SecondsToExpiry"], one["Identity"] or "nobody yet"
        said = f"token of {one['Account']}: {one['State'] or 'not known'}, {who}"
        said += f", good for {age(left)}" if left else ", there is none"
        if one["Problem"]:
            said += f"; {one['Problem']}"
            said += f"; next try {_time(one['NextTry'])}" if one["NextTry"] else ""
        yield said, "red" if not left else "yellow" if one["Problem"] else ""


def _sender(one: Mapping[str, Any]) -> Line:
    from rich.filesize import decimal

    requests, instances = count(one["Requests"], "request"), count(one["Instances"], "instance")
    amount = f"{requests}, {instances}, {decimal(one['Bytes'])}"
    return f"worker {one['Worker'] or 'not known'}: sends to {one['Account']}, {amount}", ""


def _orthanc(one: Mapping[str, Any]) -> Line:
    name = one["Orthanc"] or one["Index"]
    said = f"Orthanc {name} ({one['Index']}): seen {_time(one['Seen']) or 'never'}"
    return (said, "") if one["Followed"] else (f"{said}, followed by no worker now", "yellow")


def _backfill(one: Mapping[str, Any]) -> Line:
    studies = one["Studies"]
    said = f"backfill of {one['Index']}: {one['State'].lower()}"
    said += ", paused" if one["Paused"] else "" if one["Open"] else ", outside its hours"
    said += f", {studies['Done']:,} of {count(studies['Total'], 'study')}"
    if one["InstancesPerSecond"]:
        said += f", {one['InstancesPerSecond']:,.1f} instances/s"
    if one["EstimatedEnd"]:
        said += f", done by {_time(one['EstimatedEnd'])}"
    return said, ""


def _retrieval(one: Mapping[str, Any]) -> Line:
    uids = "/".join(one[level] for level in ("Study", "Series", "Instance") if one[level])
    there = one["Received"] + one["Present"]
    said = f"{there:,} of {count(one['Instances'], 'instance')}"
    return f"retrieval {one['Id']} from {one['Account']}: {one['State']}, {said}, {uids}", ""


def _audit(one: Mapping[str, Any]) -> Line:
    studies = one["Studies"]
    said = f"{studies['Done']:,} of {count(studies['Total'], 'study')}"
    return f"audit on {one['Machine']}: {said} at {_time(one['Noted'])}", ""


def _time(timestamp: str | None) -> str:
    """A time of day, or whatever is there in place of one."""
    try:
        return moment(timestamp, datetime.now(UTC))
    except ValueError:
        return timestamp or ""
