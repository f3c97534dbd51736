"""``orthanc-gcp status``: how far each account is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orthanc_gcp.clock import age
from orthanc_gcp.commands.arguments import config_argument, json_option, needs, settings_of
from orthanc_gcp.commands.formatting import moment
from orthanc_gcp.commands.ledger_access import opened

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

__all__ = ["status"]

EVERY = 1.0
"""Seconds between two looks of ``--watch``."""
MEASURE = 2.0
"""Seconds that a rate is measured for when it is told once."""
WIDE = 1000
"""Columns of what is not printed at a terminal: nothing is to be broken up."""
BAR = 14
FIGURES = ("Waiting", "Sending", "Acknowledged", "Confirmed", "Quarantined")
_MOVING = ("Waiting", "Sending", "Acknowledged")

Told = dict[str, Any]


@click.command()
@config_argument
@click.option("--watch", is_flag=True, help="Show progress until it is ended by Ctrl-C.")
@json_option
@needs("worker")
def status(config: Path, watch: bool, as_json: bool) -> None:
    """Tell how far each account is: what waits, is sent, acknowledged, confirmed, in quarantine.

    Where something is on its way it takes two seconds, to measure the rate.
    """
    settings = settings_of([config])
    with opened(settings) as ledger:
        from orthanc_gcp.custody.reporting.overview import Overview, delays
        from orthanc_gcp.ledger.workers import any_alive

        overview = Overview(ledger)
        names = [account.name for account in settings.accounts]

        def look() -> Told:
            problems = {**delays(ledger, names), **settings.rejections}
            return {
                "Worker": any_alive(ledger.engine),
                "Accounts": [
                    one.as_json() for one in overview.accounts({*names, *problems}, problems)
                ],
            }

        if watch:
            show = _documents if as_json else _live if _console().is_terminal else _pages
            with suppress(KeyboardInterrupt):
                show(_again(look))
            return
        told = look()
        if told["Worker"] and any(_moving(each) for each in told["Accounts"]):
            time.sleep(MEASURE)
            told = look()
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        _console().print(_page(told, bars=False))


def _again(look: Callable[[], Told]) -> Iterator[Told]:
    while True:
        yield look()
        time.sleep(EVERY)


def _documents(looks: Iterator[Told]) -> None:
    """One line of JSON each time that something has changed."""
    last = ""
    for told in looks:
        line = json.dumps(told)
        if line != last:
            click.echo(line)
            last = line


def _pages(looks: Iterator[Told]) -> None:
    """Another page each time that a figure has changed."""
    console, before = _console(), None
    for told in looks:
        figures = [[each[name] for name in FIGURES] for each in told["Accounts"]]
        if figures != before:
            console.print(_page(told, bars=False))
        before = figures


def _live(looks: Iterator[Told]) -> None:
    """A picture that follows."""
    from rich.live import Live

    with Live(console=_console(), auto_refresh=False) as live:
        for told in looks:
            live.update(_page(told, bars=True), refresh=True)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def _page(told: Mapping[str, Any], *, bars: bool) -> Group:
    from rich.console import Group
    from rich.text import Text

    lines = [] if told["Worker"] else [Text("no worker runs: nothing is sent", "yellow")]
    for each in told["Accounts"]:
        for words, style in _notes(each):
            lines.append(Text(f"{each['Account']}: {words}", style))
    return Group(_table(told["Accounts"], bars=bars), *lines)


def _notes(each: Told) -> Iterator[tuple[str, str]]:
    """What there is to say of an account beside its figures, and how it looks."""
    progress = _progress(each)
    if progress:
        yield ", ".join(progress), ""
    if each["Paused"]:
        yield "paused", "yellow"
    if each["Problem"]:
        yield each["Problem"], "red"


def _progress(each: Told) -> list[str]:
    from rich.filesize import decimal

    said = []
    if each["OldestUnsentSeconds"] is not None:
        said.append(f"oldest unsent {age(each['OldestUnsentSeconds'])}")
    if each["InstancesPerSecond"]:
        said.append(f"{each['InstancesPerSecond']:,.1f} instances/s")
        said.append(f"{decimal(int(each['BytesPerSecond']))}/s")
    if each["EstimatedEnd"]:
        said.append(f"done by {moment(each['EstimatedEnd'], datetime.now(UTC))}")
    return said


def _table(accounts: list[Told], *, bars: bool) -> Table:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("account", overflow="fold")
    for figure in FIGURES:
        table.add_column(figure.lower(), justify="right", no_wrap=True)
    for each in accounts:
        name = Text(each["Account"])
        figures = (_count(each[figure]) for figure in FIGURES)
        table.add_row(Group(name, _bar(each)) if bars else name, *figures)
    return table


def _bar(each: Told) -> ProgressBar:
    from rich.progress_bar import ProgressBar

    done = each["Confirmed"]["Bytes"]
    left = sum(each[name]["Bytes"] for name in _MOVING)
    return ProgressBar(total=max(1, done + left), completed=done if left else 1, width=BAR)


def _moving(each: Told) -> int:
    return sum(each[name]["Instances"] for name in _MOVING)


def _count(figure: Mapping[str, int]) -> str:
    from rich.filesize import decimal

    return f"{figure['Instances']:,}\n{decimal(figure['Bytes']) if figure['Bytes'] else ''}"
