"""``orthanc-gcp check``: what is wrong, and the remedy, as lines or as JSON."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import orthanc_gcp
from orthanc_gcp import configuration
from orthanc_gcp.auth.credentials.documents import user_name
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.arguments import Configs, fail
from orthanc_gcp.configuration import Settings
from orthanc_gcp.configuration.files import files_of, folder_of, read_files
from orthanc_gcp.doctor import (
    Finding,
    Result,
    Site,
    check_account,
    check_custody,
    check_orthanc,
)
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.orthanc import access
from orthanc_gcp.orthanc.installation import Service, service_of
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.transport.request import transport

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["check"]

FAILED, UNKNOWN = 1, 2
_VARIABLE = "ORTHANC_GCP_CHECK_ORTHANC"
_COLOURS = {
    Result.PASSED: "green",
    Result.WARNING: "yellow",
    Result.FAILED: "red",
    Result.SKIPPED: "dim",
    Result.UNKNOWN: "magenta",
}
_TITLE_WIDTH = len("  search through Orthanc")
_RESULT_WIDTH = max(len(result.value) for result in Result)

# What says how a terminal is written to.
_KEPT = ("PATH", "TERM", "COLUMNS", "NO_COLOR")

Groups = Mapping[str, Iterable[Finding]]


def check(
    config: Configs,
    account: Annotated[
        list[str] | None, typer.Option(help="Only this account; may be repeated.")
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Also send, find, fetch and delete a tiny instance."),
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The user who runs Orthanc, where it is not found out."),
    ] = None,
    orthanc: Annotated[
        str | None,
        typer.Option(
            envvar=_VARIABLE,
            help="Orthanc's address: http://user:password@host:port/.",
            show_default="from CONFIG, when Orthanc runs",
        ),
    ] = None,
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="The sidecar serves this Orthanc, not a script.")
    ] = False,
    before_restart: Annotated[
        bool,
        typer.Option(
            "--before-restart",
            help="Do not ask the Orthanc that runs: it has not read this configuration yet.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Check Orthanc, its accounts and custody: what is wrong, and the remedy.

    Run by root, it looks as the user who runs Orthanc. The exit code is 0 when nothing failed, 1
    when something did, 2 when something that is needed could not be checked.
    """
    config = [path.absolute() for path in config]
    try:
        service = service_of(config[0], user)
        _become(service)
        _see_that_orthanc_can_read(config, service)
        settings = configuration.read(read_files(config), folder_of(config))
        rest = None if before_restart else _rest(settings, service, orthanc)
    except ConfigurationError as error:
        fail(str(error), UNKNOWN)
    names = _chosen(settings, account)
    site = Site(config[0], settings, service, rest, sidecar)
    groups = {
        "Orthanc": check_orthanc(site),
        **{f"account {name}": _account(site, name, write=write) for name in names},
        "custody": check_custody(site),
    }
    warnings = [str(problem) for problem in settings.problems if not problem.error]
    found = _collected(groups) if as_json else _printed(groups, warnings)
    code = _exit_code({finding.result for findings in found.values() for finding in findings})
    if as_json:
        typer.echo(json.dumps(_as_json(found, warnings, names, passed=code == 0), indent=2))
    raise typer.Exit(code)


def _exit_code(results: set[Result]) -> int:
    if Result.FAILED in results:
        return FAILED
    return UNKNOWN if Result.UNKNOWN in results else 0


def _become(service: Service | None) -> None:
    """Root becomes the user who runs Orthanc, with its environment and working directory.

    Raises
    ------
    ConfigurationError
        There is no such user, or it cannot read this very package.
    """
    if service is None or os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(service.user)
    except KeyError:
        raise ConfigurationError(f"there is no user {service.user} on this machine") from None
    if service.environment or service.source.endswith(".service"):
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        os.environ.clear()
        os.environ.update({**kept, **service.environment})
    if entry.pw_uid == 0:
        return
    os.environ.update(HOME=entry.pw_dir, USER=service.user, LOGNAME=service.user)
    os.initgroups(service.user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    for file in (os.__file__, orthanc_gcp.__file__):
        if not os.access(file, os.R_OK):
            raise ConfigurationError(
                f"{service.user}, who runs Orthanc, cannot read {file}, and so Orthanc cannot load "
                "the connector from there: install it where everybody can read it, such as "
                "/opt/orthanc-gcp, with a Python that everybody can run, such as /usr/bin/python3"
            )
    if service.working_directory is not None:
        with suppress(OSError):
            os.chdir(service.working_directory)


def _see_that_orthanc_can_read(config: list[Path], service: Service | None) -> None:
    """End the command where Orthanc itself cannot start."""
    if service is None or service.user != user_name():
        return
    for file in (file for path in config for file in files_of(path)):
        if not os.access(file, os.R_OK):
            fail(
                f"{file}: {service.user}, who runs Orthanc, may not read it, so that Orthanc does "
                f"not start: chown {service.user} {file}",
                FAILED,
            )


def _chosen(settings: Settings, wanted: list[str] | None) -> list[str]:
    """The accounts to check; ends the command where there is none."""
    names = [*(each.name for each in settings.accounts), *settings.rejected]
    unknown = [name for name in wanted or [] if name not in names]
    if unknown:
        fail(f"There is no account {unknown[0]}", UNKNOWN)
    if not names and not any(problem.error for problem in settings.problems):
        fail("; ".join(map(str, settings.problems)), UNKNOWN)
    return wanted or names


def _account(site: Site, name: str, *, write: bool) -> Iterator[Finding]:
    clock = SystemClock()
    requests = transport(site.settings, clock)
    return check_account(name, site.settings, requests, clock, write=write, orthanc=site.rest)


def _rest(settings: Settings, service: Service | None, url: str | None) -> OrthancRest | None:
    """The Orthanc that runs with this configuration."""
    if url is not None:
        return access.client(settings, url, variable=_VARIABLE)
    if service is None or service.pid is None or not settings.orthanc.http_server_enabled:
        return None
    # Without a user, if need be: its own line says then that one is wanted.
    return access.own(settings)


def _collected(groups: Groups) -> dict[str, list[Finding]]:
    return {title: list(findings) for title, findings in groups.items()}


def _as_json(
    found: Mapping[str, list[Finding]], warnings: list[str], names: list[str], *, passed: bool
) -> dict[str, object]:
    told = {title: [each.as_json() for each in found[title]] for title in found}
    return {
        "Passed": passed,
        "Warnings": warnings,
        "Orthanc": told["Orthanc"],
        "Accounts": {name: told[f"account {name}"] for name in names},
        "Custody": told["custody"],
    }


def _printed(groups: Groups, warnings: list[str]) -> dict[str, list[Finding]]:
    """Print each line as it comes, for some of them take seconds."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    for warning in warnings:
        console.print(f"[yellow]warning[/] {escape(warning)}")
    found: dict[str, list[Finding]] = {}
    for title, findings in groups.items():
        console.print(f"[bold]{escape(title)}[/]")
        found[title] = []
        for finding in findings:
            console.print(_line(finding))
            found[title].append(finding)
    return found


def _line(finding: Finding) -> Table:
    from rich.markup import escape
    from rich.table import Table

    row = Table.grid(padding=(0, 1))
    row.add_column(width=_TITLE_WIDTH)
    row.add_column(width=_RESULT_WIDTH)
    row.add_column(overflow="fold")
    colour = _COLOURS[finding.result]
    remedy = f"\n[bold]remedy:[/] {escape(finding.remedy)}" if finding.remedy else ""
    words = escape(finding.cause) + remedy
    row.add_row(f"  {finding.check}", f"[{colour}]{finding.result.value}[/]", words)
    return row
