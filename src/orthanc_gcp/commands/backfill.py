"""``orthanc-gcp backfill``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.arguments import Config, fail, orthanc_of, orthanc_option, settings_of
from orthanc_gcp.commands.ledger_access import opened
from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.errors import OrthancError

__all__ = ["backfill"]


def backfill(
    config: Config,
    orthanc: Annotated[str | None, orthanc_option("backfill")] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Send no more of it for now.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Look at all studies again, as for a new rule.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only tell how far it is; the default.")
    ] = False,
) -> None:
    """Steer the backfill that "Backfill" in Orthanc's configuration asks for; tell how far it is.

    The worker does what is said here; one that does not run does it when it is started.
    """
    if pause + resume + restart + status > 1:
        fail("expected one of --pause, --resume, --restart and --status")
    settings = settings_of([config])
    rest = orthanc_of(settings, orthanc, "backfill")
    with opened(settings) as ledger:
        from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
        from orthanc_gcp.custody.reporting.backfill_progress import progress
        from orthanc_gcp.orthanc.resources import OrthancSource

        try:
            backlog = BackfillStudies(ledger, OrthancSource(rest, settings.storage_folder).name())
        except OrthancError as error:
            fail(str(error))
        for wanted, action in (
            (pause, backlog.pause),
            (resume, backlog.resume),
            (restart, backlog.restart),
        ):
            if wanted:
                action()
        now = SystemClock().utc().astimezone()
        found = progress(ledger, backlog, settings.backfill or BackfillOptions(), now)
    typer.echo(json.dumps(found and found.as_json(), indent=2))
