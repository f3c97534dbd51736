"""The command ``orthanc-gcp backfill``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import sqlalchemy as sql
import typer

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import Settings
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.custody import database
from orthanc_gcp.custody.archive import Archive
from orthanc_gcp.custody.backlog import Backlog
from orthanc_gcp.custody.ledger import Ledger
from orthanc_gcp.custody.progress import progress
from orthanc_gcp.errors import ConfigurationError, GcpError
from orthanc_gcp.orthanc_rest import OrthancRest

__all__ = ["backfill"]


def backfill(
    config: Annotated[
        list[Path], typer.Argument(help="Orthanc's configuration: files, or a folder.")
    ],
    orthanc: Annotated[
        str,
        typer.Option(
            envvar="ORTHANC_GCP_WORKER_ORTHANC",
            help="Orthanc's address: http://user:password@host:port/.",
        ),
    ] = "http://localhost:8042/",
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
        typer.echo("expected one of --pause, --resume, --restart and --status", err=True)
        raise typer.Exit(2)
    try:
        settings = configuration.read(read_files(config), folder_of(config))
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    rest = OrthancRest(orthanc, ca_certificates=settings.ca_certificates)
    try:
        backlog = Backlog(_ledger(settings), Archive(rest, settings.storage_folder).name())
        for wanted, action in (
            (pause, backlog.pause),
            (resume, backlog.resume),
            (restart, backlog.restart),
        ):
            if wanted:
                action()
        now = SystemClock().utc().astimezone()
        told = progress(backlog, settings.backfill or configuration.Backfill(), now)
    except GcpError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except sql.exc.SQLAlchemyError as error:
        typer.echo(f"the ledger cannot be reached: {str(error).splitlines()[0]}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(told, indent=2))


def _ledger(settings: Settings) -> Ledger:
    url = database.url_of(settings.section.database, settings.storage_folder)
    # A file made by the wrong user would keep the worker out.
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise GcpError("there is no ledger yet: the worker makes it", reason="no_ledger")
    return Ledger(database.connect(url))
