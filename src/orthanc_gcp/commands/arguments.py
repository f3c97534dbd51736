"""What commands share: arguments, options, what these name, and how a command ends that cannot.

Exit code 2: the command could not do what it is for, and one line says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click

from orthanc_gcp.commands.printing import say
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.redaction import masked
from orthanc_gcp.worker.launch import not_installed

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = [
    "BROKEN_OFF",
    "CONFIGURATION",
    "config_argument",
    "configs_argument",
    "fail",
    "json_option",
    "need_an_account",
    "needs",
    "orthanc_of",
    "orthanc_option",
    "orthanc_variable",
    "settings_of",
]

CANNOT, BROKEN_OFF = 2, 130
"""Exit codes: what it is for could not be done; Ctrl-C came (128 and SIGINT, as shells have it)."""

Parameters = ParamSpec("Parameters")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

CONFIGURATION = click.Path(path_type=Path, readable=False)
"""A path of Orthanc's configuration: that it cannot be read is said with what to do about it."""


def config_argument(command: Decorated) -> Decorated:
    """The argument of a command that takes one file or folder."""
    return click.argument(
        "config",
        metavar="CONFIG",
        type=CONFIGURATION,
        help="Orthanc's configuration: a file, or a folder.",
    )(command)


def configs_argument(
    help_text: str = "Orthanc's configuration: files, or a folder.",
) -> Callable[[Decorated], Decorated]:
    """The argument of a command that takes what Orthanc itself takes: files, or a folder."""
    return click.argument(
        "config", metavar="CONFIG...", type=CONFIGURATION, nargs=-1, required=True, help=help_text
    )


def json_option(command: Decorated) -> Decorated:
    """The option of a command that prints for programs as well as for people."""
    return click.option("--json", "as_json", is_flag=True, help="JSON instead of words.")(command)


def orthanc_option(
    command: str, default: str = "as CONFIG says"
) -> Callable[[Decorated], Decorated]:
    """The option ``--orthanc``, and the variable that is given instead of it.

    Parameters
    ----------
    command
        The command's name, which is part of the variable's.
    default
        Which Orthanc it is without the option, for the help.
    """
    return click.option(
        "--orthanc",
        metavar="URL",
        envvar=orthanc_variable(command),
        show_envvar=True,
        show_default=default,
        callback=_warn_of_password,
        help="Orthanc's address: http://host:port/; with user and password, in the variable.",
    )


def _warn_of_password(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    """Say it when every user of this machine can read a password in the list of processes."""
    source = context.get_parameter_source(parameter.name or "")
    if value and "@" in value and source is click.core.ParameterSource.COMMANDLINE:
        say(
            "Warning: every user of this machine can read the password in --orthanc: give the "
            f"address in the variable {parameter.envvar}",
            err=True,
        )
    return value


def fail(message: str, code: int = CANNOT) -> NoReturn:
    """End the command, with a line for the person who ran it: it could not do what it is for."""
    say(masked(message), err=True)
    raise click.exceptions.Exit(code)


def settings_of(config: Sequence[Path]) -> Settings:
    """What the configuration says; ends the command when it cannot be read."""
    from orthanc_gcp import configuration
    from orthanc_gcp.configuration.files import folder_of, read_files

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
    """The Orthanc of a command, by its option or else as the configuration says.

    Ends the command when the address is none, or Orthanc has no REST API or wants a password.
    """
    from orthanc_gcp.orthanc import access

    try:
        return access.client(
            settings, given, variable=orthanc_variable(command), connections=connections
        )
    except ConfigurationError as error:
        fail(str(error))


def needs(
    extra: str, code: int = CANNOT
) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Have a command say which package is missing, and what installs it.

    Parameters
    ----------
    extra
        That of the distribution which has all that the command imports; empty for none.
    code
        The exit code when one is missing.
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


def orthanc_variable(command: str) -> str:
    """The environment variable with Orthanc's address, which keeps a password out of ``ps``."""
    return f"ORTHANC_GCP_{command.upper()}_ORTHANC"
