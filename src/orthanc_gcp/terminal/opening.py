"""Orthanc's configuration and the ledger that it names, opened for a command."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from orthanc_gcp import configuration
from orthanc_gcp.configuration import Settings
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.errors import ConfigurationError, GcpError
from orthanc_gcp.orthanc_rest import OrthancRest
from orthanc_gcp.secrecy import printable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from orthanc_gcp.custody.ledger import Ledger

__all__ = ["AsJson", "Config", "fail", "opened", "orthanc_at", "settings_of", "the_account"]

Config = Annotated[Path, typer.Argument(help="Orthanc's configuration: a file, or a folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of words.")]


def fail(message: str) -> NoReturn:
    """End the command: it could not do what it is for."""
    typer.echo(message, err=True)
    raise typer.Exit(2)


def settings_of(config: Path) -> Settings:
    """What the configuration says; ends the command when it cannot be read."""
    try:
        return configuration.read(read_files([config]), folder_of([config]))
    except ConfigurationError as error:
        fail(str(error))


def orthanc_at(url: str, settings: Settings) -> OrthancRest:
    """Orthanc's REST API; ends the command when its address cannot be read."""
    try:
        return OrthancRest(url, timeout=30, ca_certificates=settings.ca_certificates)
    except ConfigurationError as error:
        fail(str(error))


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """The ledger; ends the command when there is none, or its database goes away."""
    try:
        from sqlalchemy.exc import SQLAlchemyError

        from orthanc_gcp.custody import database
        from orthanc_gcp.custody.ledger import Ledger
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed: pip install 'orthanc-gcp[worker]'")
    try:
        engine = database.connect(database.url_for(settings))
    except GcpError as error:
        fail(str(error))
    try:
        _find(engine)
        yield Ledger(engine)
    except PermissionError as error:
        fail(f"{error.filename} belongs to another user: be the one that Orthanc runs as")
    except SQLAlchemyError as error:
        # What follows the first line may be values.
        words = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        fail(f"the ledger cannot be reached at {_place(engine)}: {words}")
    finally:
        engine.dispose()


def the_account(name: str | None, known: Collection[str]) -> None:
    """End the command when an account was named that there is not."""
    if name is not None and name not in known:
        wanted = f"expected one of {', '.join(sorted(known))}" if known else "there is none"
        fail(f"there is no account {name}: {wanted}")


def _find(engine: Engine) -> None:
    """End the command unless the worker has made its tables, for nobody else should."""
    import sqlalchemy as sql

    from orthanc_gcp.custody.tables import transfers

    file = Path(engine.url.database or "")
    is_file = engine.dialect.name == "sqlite"
    if (is_file and not file.exists()) or not sql.inspect(engine).has_table(transfers.name):
        fail(f"there is no ledger at {_place(engine)}: the worker makes it when it first starts")


def _place(engine: Engine) -> str:
    """Where a database is, without a password."""
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=True)
    return printable(url)
