"""``orthanc-gcp backfill``: how far it is, and what a person has it do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.arguments import (
    BROKEN_OFF,
    config_argument,
    fail,
    json_option,
    needs,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.commands.formatting import count, moment
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.commands.live.progress import ProgressLine
from orthanc_gcp.commands.printing import say
from orthanc_gcp.errors import OrthancError

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
    from orthanc_gcp.custody.reporting.backfill_progress import BackfillProgress
    from orthanc_gcp.ledger.ledger import Ledger
    from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["backfill"]

INCOMPLETE = 1
"""The exit code of ``--wait`` when it has ended and not all of it is in the store."""
EVERY, SHARE = 1.0, 5
"""It is read again after so many seconds, or so many times as long as reading takes."""

Read = Callable[[], "BackfillProgress | None"]


@click.command()
@config_argument
@orthanc_option("backfill")
@click.option("--pause", is_flag=True, help="Send no more of it for now.")
@click.option("--resume", is_flag=True, help="Go on.")
@click.option("--restart", is_flag=True, help="Look at all studies again, as for a new rule.")
@click.option("--status", is_flag=True, help="Only tell how far it is; the default.")
@click.option("--wait", is_flag=True, help="Return when it has ended.")
@json_option
@needs("worker")
def backfill(
    config: Path,
    orthanc: str | None,
    pause: bool,
    resume: bool,
    restart: bool,
    status: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Steer the backfill that "Backfill" in Orthanc's configuration asks for; tell how far it is.

    The worker does what is said here; one that does not run does it when it is started.
    """
    if pause + resume + restart + status > 1:
        fail("expected one of --pause, --resume, --restart and --status")
    if pause and wait:
        fail("what is paused does not end: --wait does not go with --pause")
    settings = settings_of([config])
    rest = orthanc_of(settings, orthanc, "backfill")
    with open_ledger(settings) as ledger:
        from orthanc_gcp.ledger.workers import any_alive

        studies = _studies(ledger, settings, rest)
        for wanted, action in (
            (pause, studies.pause),
            (resume, studies.resume),
            (restart, studies.restart),
        ):
            if wanted:
                action()
        read = _reader(ledger, studies, settings)
        found = read()
        if wait and found is not None:
            found = _wait(read, found, partial(any_alive, ledger.engine), quiet=as_json)
    if as_json:
        say(json.dumps(found and found.as_json(), indent=2))
    else:
        say("no backfill has begun" if found is None else "\n".join(_lines(found)))
    raise click.exceptions.Exit(INCOMPLETE if wait and _lacks(found) else 0)


def _studies(ledger: Ledger, settings: Settings, rest: OrthancRest) -> BackfillStudies:
    """What the ledger knows of the backfill of this Orthanc; ends the command where it is away."""
    from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
    from orthanc_gcp.custody.intake.identity import recognize
    from orthanc_gcp.orthanc.resources import OrthancSource

    try:
        source = OrthancSource(rest, settings.storage_folder)
        name = source.name()
        known = recognize(ledger, source, name)
    except OrthancError as error:
        fail(str(error))
    if known is None and any(one.source == name for one in ledger.indexes.all()):
        fail("the ledger does not know the index of this Orthanc: start its worker first")
    # The first index of a name is called by it.
    index = name if known is None else known[1].source
    return BackfillStudies(ledger, index, {rule.to for rule in settings.rules})


def _reader(ledger: Ledger, studies: BackfillStudies, settings: Settings) -> Read:
    from orthanc_gcp.configuration import BackfillOptions
    from orthanc_gcp.custody.reporting.backfill_progress import progress

    options, clock = settings.backfill or BackfillOptions(), SystemClock()
    return lambda: progress(ledger, studies, options, clock.utc().astimezone())


def _wait(
    read: Read, found: BackfillProgress, runs: Callable[[], bool], *, quiet: bool
) -> BackfillProgress:
    """The same, once it has ended; ends the command on Ctrl-C, and says how far it came."""
    line = ProgressLine(quiet=quiet)
    try:
        while found.ended_at is None:
            line.show(partial(_line_of, found, runs))
            began = time.monotonic()
            now = read()
            time.sleep(max(EVERY, SHARE * (time.monotonic() - began)))
            if now is None:
                break
            found = now
    except KeyboardInterrupt:
        line.line(f"broken off: {_line(found)}; {'the' if runs() else 'no'} worker goes on")
        raise click.exceptions.Exit(BROKEN_OFF) from None
    line.clear()
    return found


def _lacks(found: BackfillProgress | None) -> bool:
    """Whether it is not known that all of it is in the store; nothing is before it has begun."""
    if found is None or found.ended_at is None:
        return True
    counts = found.counts
    left = counts.in_need.instances, counts.lost.instances, found.unreadable, found.recycled
    return any(left)


def _line(found: BackfillProgress) -> str:
    return ", ".join([_stage(found), *_figures(found)])


def _line_of(found: BackfillProgress, runs: Callable[[], bool]) -> str:
    return _line(found) if runs() else f"{_line(found)}, and no worker runs"


def _lines(found: BackfillProgress) -> Iterator[str]:
    from orthanc_gcp.custody.reporting.timestamps import utc

    ended = f", ended {utc(found.ended_at)}" if found.ended_at is not None else ""
    yield f"{_stage(found)}, began {utc(found.began_at)}{ended}"
    yield from (f"  {words}" for words in _figures(found))


def _stage(found: BackfillProgress) -> str:
    said = f"backfill: {found.stage.value.lower()}"
    if found.paused:
        return f"{said}, paused"
    return said if found.open or found.ended_at is not None else f"{said}, outside its hours"


def _figures(found: BackfillProgress) -> Iterator[str]:
    from rich.filesize import decimal

    counts = found.counts
    yield f"{found.studies_done:,} of {count(found.studies, 'study')} written down"
    yield f"{count(counts.confirmed.instances, 'instance')} confirmed"
    for words, amount in (
        ("on their way", counts.unfinished),
        ("in quarantine", counts.quarantined),
        ("lost", counts.lost),
    ):
        if amount.instances:
            yield f"{amount.instances:,} {words}"
    if found.gone:
        recycled = f", {found.recycled:,} maybe recycled" if found.recycled else ""
        yield f"{count(found.gone, 'study')} gone before they were written down{recycled}"
    if found.unreadable:
        yield f"{found.unreadable:,} that Orthanc cannot read"
    if found.instances_per_second:
        rate = decimal(int(found.bytes_per_second))
        yield f"{found.instances_per_second:,.1f} instances/s, {rate}/s"
    if found.estimated_end is not None:
        yield f"done by {_moment(found.estimated_end)}"


def _moment(seconds: float) -> str:
    from orthanc_gcp.custody.reporting.timestamps import utc

    return moment(utc(seconds), SystemClock().utc())
