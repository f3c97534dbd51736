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
from orthanc_gcp.commands.formatting import count, moment
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.commands.live.figures import Figures, LedgerFigures
from orthanc_gcp.commands.printing import cleaned, end_without_reader, say
from orthanc_gcp.commands.printing import console as new_console
from orthanc_gcp.worker.samples import lost_instances

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

__all__ = ["MEASURE", "console", "moving", "page", "status"]

EVERY = 1.0
"""Seconds between two readings of ``--watch``."""
MEASURE = 2.0
"""Seconds that a rate is measured for when it is printed once."""
WIDE = 1000
"""Columns of what is not printed at a terminal: nothing is to be broken up."""
BAR = 14
FIGURES = ("Waiting", "Sending", "Acknowledged", "Confirmed", "Quarantined")
ENDED = ("Lost", "Withdrawn", "Superseded", "Dismissed")
"""States in which nothing is in the store: they have a column where an account has any."""
_MOVING = ("Waiting", "Sending", "Acknowledged")


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
    with open_ledger(settings) as ledger:
        read = LedgerFigures(ledger, settings).read
        if watch:
            show = _documents if as_json else _live if console().is_terminal else _pages
            with suppress(KeyboardInterrupt):
                show(_repeated(read))
            return
        overview = read()
        if overview["Worker"] and any(moving(each) for each in overview["Accounts"]):
            time.sleep(MEASURE)
            overview = read()
    if as_json:
        say(json.dumps(overview, indent=2))
    else:
        console().print(page(overview, bars=False))


def _repeated(read: Callable[[], Figures]) -> Iterator[Figures]:
    while True:
        yield read()
        time.sleep(EVERY)
        end_without_reader()


def _documents(overviews: Iterator[Figures]) -> None:
    """One line of JSON each time that something has changed."""
    last = ""
    for overview in overviews:
        line = json.dumps(overview)
        if line != last:
            say(line)
            last = line


def _pages(overviews: Iterator[Figures]) -> None:
    """Another page each time that a figure has changed."""
    there, before = console(), None
    for overview in overviews:
        figures = [[each[name] for name in (*FIGURES, *ENDED)] for each in overview["Accounts"]]
        if figures != before:
            there.print(page(overview, bars=False))
        before = figures


def _live(overviews: Iterator[Figures]) -> None:
    """A picture that follows."""
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        for overview in overviews:
            live.update(page(overview, bars=True), refresh=True)


def console() -> Console:
    """Where it is printed: as wide as a terminal is, and elsewhere so that nothing is broken up."""
    there = new_console()
    return there if there.is_terminal else new_console(WIDE)


def page(overview: Mapping[str, Any], *, bars: bool) -> Group:
    """A table of all accounts, and below it what there is to say of each."""
    from rich.console import Group
    from rich.text import Text

    lines = [] if overview["Worker"] else [Text("no worker runs: nothing is sent", "yellow")]
    if overview["Workers"]:
        lines.append(Text(cleaned(f"workers: {', '.join(map(_worker, overview['Workers']))}")))
    lines += [Text(cleaned(words), "red") for words in _of_all(overview["Accounts"])]
    for each in overview["Accounts"]:
        for words, style in _notes(each):
            lines.append(Text(cleaned(f"{each['Account']}: {words}"), style))
    return Group(_table(overview["Accounts"], bars=bars), *lines)


def _worker(one: Figures) -> str:
    sends = count(one["Instances"], "instance")
    return f"{one['Worker']} ({f'sends {sends}' if one['Instances'] else 'idle'})"


def _notes(each: Figures) -> Iterator[tuple[str, str]]:
    """What there is to say of an account beside its figures, and how it looks."""
    progress = _progress(each)
    if progress:
        yield ", ".join(progress), ""
    if each["OldestUnsentDetail"] and not each["Problem"]:
        yield f"the oldest: {each['OldestUnsentDetail']}", ""
    if each["Paused"]:
        yield "paused", "yellow"
    if each["Quarantined"]["Instances"]:
        yield "what is in quarantine needs a person: orthanc-gcp quarantine", "red"
    if lost_instances(each):
        yield "what is lost is to be acknowledged: orthanc-gcp losses", "red"
    if each["LostChanges"]:
        yield f"{each['LostChanges']:,} changes of Orthanc are lost: orthanc-gcp losses", "red"
    if each["UnprotectedPatients"]:
        said = f"{each['UnprotectedPatients']:,} patients are not protected from recycling"
        yield said, "red"
    own = [one for one in each["Problems"] if one["Account"]]
    if each["Problem"] and each["Problem"] not in {one["Message"] for one in each["Problems"]}:
        yield each["Problem"], "red"
    for one in own:
        yield f"{one['Message']}; {one['Remedy']}", "red"


def _of_all(accounts: list[Figures]) -> list[str]:
    """What is the matter with all accounts, once."""
    return list(
        dict.fromkeys(
            f"{one['Message']}; {one['Remedy']}"
            for each in accounts
            for one in each["Problems"]
            if not one["Account"]
        )
    )


def _progress(each: Figures) -> list[str]:
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


def _table(accounts: list[Figures], *, bars: bool) -> Table:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("account", overflow="fold")
    ended = [name for name in ENDED if any(each[name]["Instances"] for each in accounts)]
    for figure in (*FIGURES, *ended):
        table.add_column(figure.lower(), justify="right", no_wrap=True)
    for each in accounts:
        name = Text(cleaned(each["Account"]))
        figures = (_count(each[figure]) for figure in (*FIGURES, *ended))
        table.add_row(Group(name, _bar(each)) if bars else name, *figures)
    return table


def _bar(each: Figures) -> ProgressBar:
    from rich.progress_bar import ProgressBar

    done = each["Confirmed"]["Bytes"]
    left = sum(each[name]["Bytes"] for name in _MOVING)
    return ProgressBar(total=max(1, done + left), completed=done if left else 1, width=BAR)


def moving(each: Figures) -> int:
    """How many instances of an account are on their way."""
    return sum(each[name]["Instances"] for name in _MOVING)


def _count(figure: Mapping[str, int]) -> str:
    from rich.filesize import decimal

    return f"{figure['Instances']:,}\n{decimal(figure['Bytes']) if figure['Bytes'] else ''}"
