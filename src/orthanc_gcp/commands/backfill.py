"""``orthanc-gcp backfill``: how far it is, and what a person has it do."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.arguments import (
    config_argument,
    fail,
    needs,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.commands.printing import say
from orthanc_gcp.errors import OrthancError

__all__ = ["backfill"]


@click.command()
@config_argument
@orthanc_option("backfill")
@click.option("--pause", is_flag=True, help="Send no more of it for now.")
@click.option("--resume", is_flag=True, help="Go on.")
@click.option("--restart", is_flag=True, help="Look at all studies again, as for a new rule.")
@click.option("--status", is_flag=True, help="Only tell how far it is; the default.")
@needs("worker")
def backfill(
    config: Path, orthanc: str | None, pause: bool, resume: bool, restart: bool, status: bool
) -> None:
    """Steer the backfill that "Backfill" in Orthanc's configuration asks for; tell how far it is.

    The worker does what is said here; one that does not run does it when it is started.
    """
    if pause + resume + restart + status > 1:
        fail("expected one of --pause, --resume, --restart and --status")
    settings = settings_of([config])
    rest = orthanc_of(settings, orthanc, "backfill")
    with open_ledger(settings) as ledger:
        from orthanc_gcp.configuration import BackfillOptions
        from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
        from orthanc_gcp.custody.intake.identity import recognize
        from orthanc_gcp.custody.reporting.backfill_progress import progress
        from orthanc_gcp.orthanc.resources import OrthancSource

        try:
            source = OrthancSource(rest, settings.storage_folder)
            name = source.name()
            known = recognize(ledger, source, name)
        except OrthancError as error:
            fail(str(error))
        # The first index of a name is called by it.
        index = name if known is None else known[1].source
        studies = BackfillStudies(ledger, index, {rule.to for rule in settings.rules})
        for wanted, action in (
            (pause, studies.pause),
            (resume, studies.resume),
            (restart, studies.restart),
        ):
            if wanted:
                action()
        now = SystemClock().utc().astimezone()
        found = progress(ledger, studies, settings.backfill or BackfillOptions(), now)
    say(json.dumps(found and found.as_json(), indent=2))
