"""``orthanc-gcp check``: what is wrong, and the remedy, as lines or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

import orthanc_gcp
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.arguments import (
    BROKEN_OFF,
    configs_argument,
    fail,
    json_option,
    needs,
    orthanc_option,
    orthanc_variable,
)
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.printing import say
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.users import is_root, user_name

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.doctor import Finding, Result, Site
    from orthanc_gcp.orthanc.installation import Service
    from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["check"]

FAILED, UNKNOWN = 1, 2

_OF_THE_TERMINAL = ("PATH", "TERM", "COLUMNS", "NO_COLOR")
"""Variables that say how a terminal is written to: they stay when the user changes."""


@click.command()
@configs_argument()
@click.option(
    "--account",
    "wanted",
    metavar="NAME",
    multiple=True,
    help="Only this account; may be repeated.",
)
@click.option("--write", is_flag=True, help="Also send, find, fetch and delete a tiny instance.")
@click.option(
    "--store-to",
    metavar="AET",
    multiple=True,
    help="Also store a tiny instance at this modality, where it stays; may be repeated.",
)
@click.option(
    "--user", metavar="NAME", help="The user who runs Orthanc, where it is not found out."
)
@orthanc_option("check", default="from CONFIG, when Orthanc runs")
@click.option("--sidecar", is_flag=True, help="The sidecar serves this Orthanc, not a script.")
@click.option(
    "--before-restart",
    is_flag=True,
    help="Do not ask the Orthanc that runs: it has not read this configuration yet.",
)
@json_option
@needs("")
def check(
    config: tuple[Path, ...],
    wanted: tuple[str, ...],
    write: bool,
    store_to: tuple[str, ...],
    user: str | None,
    orthanc: str | None,
    sidecar: bool,
    before_restart: bool,
    as_json: bool,
) -> None:
    """Check Orthanc, its accounts and custody: what is wrong, and the remedy.

    Run by root, it checks as the user who runs Orthanc. The exit code is 0 when nothing failed, 1
    when something did, 2 when something that is needed could not be checked.
    """
    # All before it becomes a user who may not be able to read these.
    from orthanc_gcp import configuration
    from orthanc_gcp.commands.check_report import as_document, collect_findings, print_findings
    from orthanc_gcp.configuration.files import folder_of, read_files
    from orthanc_gcp.doctor import Site, check_custody, check_modalities, check_orthanc
    from orthanc_gcp.orthanc.installation import service_of

    paths = [path.absolute() for path in config]
    try:
        service = service_of(paths[0], user)
        _become(service)
        _see_that_orthanc_can_read(paths, service)
        settings = configuration.read(read_files(paths), folder_of(paths))
        rest = None if before_restart else _rest(settings, service, orthanc)
    except ConfigurationError as error:
        fail(str(error), UNKNOWN)
    names = _chosen(settings, wanted)
    _refuse_unknown_modality(settings, store_to)
    site = Site(paths[0], settings, service, rest, sidecar)
    groups = {
        "Orthanc": check_orthanc(site),
        **{f"account {name}": _account(site, name, write=write) for name in names},
        "custody": check_custody(site),
    }
    if settings.orthanc.dicom_modalities:
        groups["modalities"] = check_modalities(settings, store_to)
    warnings = [str(problem) for problem in settings.problems if not problem.error]
    found: dict[str, list[Finding]] = {title: [] for title in groups}
    try:
        if as_json:
            collect_findings(groups, found)
        else:
            print_findings(groups, warnings, found)
    except KeyboardInterrupt:
        fail(_broken_off(found), BROKEN_OFF)
    code = _exit_code({finding.result for findings in found.values() for finding in findings})
    if as_json:
        document = as_document(found, warnings, names, passed=code == 0)
        say(json.dumps(document, indent=2))
    raise click.exceptions.Exit(code)


def _broken_off(found: dict[str, list[Finding]]) -> str:
    """How far it came: what was begun, and what was not looked at."""
    done = sum(map(len, found.values()))
    begun = [title for title, findings in found.items() if findings]
    left = [title for title, findings in found.items() if not findings]
    where = f" of {', '.join(begun)}" if begun else ""
    rest = f"; not begun: {', '.join(left)}" if left else ""
    return f"broken off after {count(done, 'check')}{where}{rest}"


def _exit_code(results: set[Result]) -> int:
    from orthanc_gcp.doctor import Result

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
    if service is None or not is_root():
        return
    import pwd

    try:
        entry = pwd.getpwnam(service.user)
    except KeyError:
        raise ConfigurationError(f"there is no user {service.user} on this machine") from None
    if service.environment or service.source.endswith(".service"):
        stays = {name: os.environ[name] for name in _OF_THE_TERMINAL if name in os.environ}
        os.environ.clear()
        os.environ.update({**stays, **service.environment})
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
    from orthanc_gcp.configuration.files import files_of

    if service is None or service.user != user_name():
        return
    for file in (file for path in config for file in files_of(path)):
        if not os.access(file, os.R_OK):
            fail(
                f"{file}: {service.user}, who runs Orthanc, may not read it, so that Orthanc does "
                f"not start: chown {service.user} {file}",
                FAILED,
            )


def _chosen(settings: Settings, wanted: Sequence[str]) -> Sequence[str]:
    """The accounts to check; ends the command where there is none."""
    names = [*(each.name for each in settings.accounts), *settings.rejected]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        fail(f"There is no account {unknown[0]}", UNKNOWN)
    if not names and not any(problem.error for problem in settings.problems):
        fail("; ".join(map(str, settings.problems)), UNKNOWN)
    return wanted or names


def _refuse_unknown_modality(settings: Settings, store_to: Sequence[str]) -> None:
    known = {one.aet for one in settings.orthanc.dicom_modalities}
    unknown = [aet for aet in store_to if aet not in known]
    if unknown:
        fail(f"There is no modality {unknown[0]} in DicomModalities", UNKNOWN)


def _account(site: Site, name: str, *, write: bool) -> Iterator[Finding]:
    from orthanc_gcp.doctor import check_account
    from orthanc_gcp.transport.request import transport

    clock = SystemClock()
    requests = transport(site.settings, clock)
    return check_account(name, site.settings, requests, clock, write=write, orthanc=site.rest)


def _rest(settings: Settings, service: Service | None, url: str | None) -> OrthancRest | None:
    """The Orthanc that runs with this configuration.

    Raises
    ------
    ConfigurationError
        The address that was given is none, or the certificate of the configuration cannot be read.
    """
    from orthanc_gcp.orthanc import access

    if url is not None:
        return access.client(settings, url, variable=orthanc_variable("check"))
    if service is None or service.pid is None or not settings.orthanc.http_server_enabled:
        return None
    # Without a user, if need be: its own line says then that one is wanted.
    return access.own(settings)
