"""What the commands share: their arguments, what these name, and how a command ends that cannot.

Exit code 2: the command could not do what it is for, and one line says why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec

import typer

from orthanc_gcp import configuration
from orthanc_gcp.configuration import Settings
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.orthanc import access
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.worker.launch import not_installed

__all__ = [
    "AsJson",
    "Config",
    "Configs",
    "fail",
    "need_an_account",
    "needs",
    "orthanc_of",
    "orthanc_option",
    "settings_of",
]

CANNOT = 2

# Not readable: that is said in a line of ours, not in a box that breaks the path up.
Config = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", help="Orthanc's configuration: a file, or a folder.", readable=False
    ),
]
Configs = Annotated[
    list[Path],
    typer.Argument(
        metavar="CONFIG", help="Orthanc's configuration: files, or a folder.", readable=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of words.")]

Parameters = ParamSpec("Parameters")


def orthanc_option(command: str) -> Any:
    """The option ``--orthanc`` of a command."""
    return typer.Option(
        envvar=_variable(command),
        help="Orthanc's address: http://user:password@host:port/.",
        show_default="as CONFIG says",
    )


def fail(message: str, code: int = CANNOT) -> NoReturn:
    """End the command: it could not do what it is for."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def settings_of(config: list[Path]) -> Settings:
    """What the configuration says; ends the command when it cannot be read."""
    try:
        return configuration.read(read_files(config), folder_of(config))
    except ConfigurationError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: cannot be read: {error.strerror}")


def need_an_account(settings: Settings) -> None:
    """End the command when the configuration has no account that can be used."""
    if not settings.accounts:
        fail("; ".join(map(str, settings.problems)))


def orthanc_of(
    settings: Settings, given: str | None, command: str, *, connections: int = 4
) -> OrthancRest:
    """The Orthanc of a command, by its option or else as the configuration says."""
    try:
        return access.client(settings, given, variable=_variable(command), connections=connections)
    except ConfigurationError as error:
        fail(str(error))


def needs(
    extra: str, code: int = CANNOT
) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Have a command say which package is missing, and what installs it.

    Parameters
    ----------
    extra
        That of the distribution which has all that the command imports.
    """

    def around(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
        @wraps(command)
        def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
            try:
                command(*arguments, **options)
            except ImportError as error:
                name = command.__name__.replace("_", "-")
                fail(not_installed(f"orthanc-gcp {name}", error, extra), code)

        return run

    return around


def _variable(command: str) -> str:
    return f"ORTHANC_GCP_{command.upper()}_ORTHANC"
