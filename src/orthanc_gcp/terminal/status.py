"""``orthanc-gcp status``: how far each account is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orthanc_gcp.terminal.opening import AsJson, Config, opened, settings_of

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

__all__ = ["status"]

EVERY = 1.0
"""Seconds between two looks of ``--watch``."""
MEASURE = 2.0
"""Seconds that a rate is measured for when it is told once."""
WIDE = 160
"""Columns of what is not printed at a terminal."""
FIGURES = ("Waiting", "Sending", "Acknowledged", "Confirmed", "Quarantined")
_MOVING = ("Waiting", "Sending", "Acknowledged")

Told = dict[str, Any]


def status(
    config: Config,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show progress until it is ended by Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell how far each account is: what waits, is sent, acknowledged, confirmed, in quarantine.

    Where something is on its way it takes two seconds, to measure the rate.
    """
    settings = settings_of(config)
    with opened(settings) as ledger:
        from orthanc_gcp.custody.membership import living
        from orthanc_gcp.custody.reports import Reports

        reports = Reports(ledger)
        names = [account.name for account in settings.accounts]

        def look() -> Told:
            problems = reports.delays(names)
            return {
                "Worker": living(ledger.engine),
                "Accounts": reports.overview(names, problems),
            }

        if watch:
            with suppress(KeyboardInterrupt):
                _watch(look, _documents if as_json else _live)
            return
        told = look()
        if told["Worker"] and any(_moving(each) for each in told["Accounts"]):
            time.sleep(MEASURE)
            told = look()
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _console().print(_page(told, bars=False))


def _watch(look: Callable[[], Told], show: Callable[[Iterator[Told]], None]) -> None:
    def looks() -> Iterator[Told]:
        while True:
            yield look()
            time.sleep(EVERY)

    show(looks())


def _documents(looks: Iterator[Told]) -> None:
    """One line of JSON each time that something has changed."""
    last = ""
    for told in looks:
        line = json.dumps(told)
        if line != last:
            typer.echo(line)
            last = line


def _live(looks: Iterator[Told]) -> None:
    """A picture that follows; without a terminal, a table whenever something has changed."""
    from rich.live import Live

    console = _console()
    if not console.is_terminal:
        before = None
        for told in looks:
            figures = [[each[name] for name in FIGURES] for each in told["Accounts"]]
            if figures != before:
                console.print(_page(told, bars=False))
            before = figures
    with Live(console=console, auto_refresh=False) as live:
        for told in looks:
            live.update(_page(told, bars=True), refresh=True)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def _page(told: Mapping[str, Any], *, bars: bool) -> Group:
    from rich.console import Group
    from rich.markup import escape
    from rich.text import Text

    accounts = told["Accounts"]
    lines = [] if told["Worker"] else ["[yellow]no worker runs: nothing is sent[/]"]
    for each in accounts:
        name = escape(each["Account"])
        if each["Paused"]:
            lines.append(f"[yellow]{name} is paused[/]")
        if each["Problem"]:
            lines.append(f"[red]{name}:[/] {escape(each['Problem'])}")
    return Group(_table(accounts, bars=bars), *(Text.from_markup(line) for line in lines))


def _table(accounts: list[Told], *, bars: bool) -> Table:
    from rich.markup import escape
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(pad_edge=False)
    table.add_column("account", overflow="fold")
    for figure in FIGURES:
        table.add_column(figure.lower(), justify="right")
    for column in ("oldest unsent", "rate", "done by"):
        table.add_column(column, justify="right")
    if bars:
        table.add_column("progress", no_wrap=True)
    for each in accounts:
        cells: list[Any] = [escape(each["Account"]), *(_count(each[name]) for name in FIGURES)]
        cells += [_age(each["OldestUnsentSeconds"]), _rate(each), _moment(each["EstimatedEnd"])]
        if bars:
            done, all_of_it = each["Confirmed"]["Bytes"], _bytes(each, (*_MOVING, "Confirmed"))
            cells.append(
                ProgressBar(total=max(1, all_of_it), completed=done or not all_of_it, width=16)
            )
        table.add_row(*cells)
    return table


def _bytes(each: Told, figures: tuple[str, ...]) -> int:
    return sum(each[name]["Bytes"] for name in figures)


def _moving(each: Told) -> int:
    return sum(each[name]["Instances"] for name in _MOVING)


def _count(figure: Mapping[str, int]) -> str:
    from rich.filesize import decimal

    return f"{figure['Instances']:,}\n{decimal(figure['Bytes'])}"


def _rate(each: Told) -> str:
    from rich.filesize import decimal

    if not each["InstancesPerSecond"]:
        return ""
    return f"{each['InstancesPerSecond']:.1f}/s\n{decimal(int(each['BytesPerSecond']))}/s"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _moment(moment: str | None) -> str:
    """In the time of this machine."""
    if moment is None:
        return ""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
