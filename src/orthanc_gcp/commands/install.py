"""``orthanc-gcp install``: into an Orthanc that is there, and out of it again."""

from __future__ import annotations

import os
import subprocess  # programs of ours, never by a shell  # nosec B404
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import CONFIGURATION, fail, needs
from orthanc_gcp.commands.printing import say
from orthanc_gcp.errors import GcpError
from orthanc_gcp.users import own_id

if TYPE_CHECKING:
    from orthanc_gcp.installation.host import Host
    from orthanc_gcp.installation.section import NewAccount
    from orthanc_gcp.installation.steps import Step
    from orthanc_gcp.orthanc.installation import Service

__all__ = ["install"]

# What makes an account: the option of each part, and how to ask for it.
_PARTS = {
    "name": ("--account", "Its name"),
    "project": ("--project", "Its project"),
    "location": ("--location", "Its location"),
    "dataset": ("--dataset", "Its dataset"),
    "dicom_store": ("--dicom-store", "Its DICOM store"),
    "credentials": ("--credentials", 'Its credential (a file, or "application-default")'),
}


@click.command()
@click.option(
    "--orthanc-config",
    type=CONFIGURATION,
    default="/etc/orthanc",
    help="The file or the folder that Orthanc is started with.",
)
@click.option(
    "--user", metavar="NAME", help="The user that Orthanc runs as, where it cannot be found."
)
@click.option("--account", metavar="NAME", help="The name of a first account.")
@click.option("--project", metavar="NAME", help="Its project.")
@click.option("--location", metavar="NAME", help="Its location.")
@click.option("--dataset", metavar="NAME", help="Its dataset.")
@click.option("--dicom-store", metavar="NAME", help="Its DICOM store.")
@click.option(
    "--credentials",
    metavar="FILE",
    help='Its credential: a file, which is copied, or "application-default".',
)
@click.option(
    "--credentials-folder",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Where files of credentials go.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--uninstall", is_flag=True, help="Undo it, and keep what you have written.")
@needs("")
def install(
    orthanc_config: Path,
    user: str | None,
    account: str | None,
    project: str | None,
    location: str | None,
    dataset: str | None,
    dicom_store: str | None,
    credentials: str | None,
    credentials_folder: Path | None,
    dry_run: bool,
    uninstall: bool,
) -> None:
    """Have an Orthanc load the plugin: write what it needs, and keep what was there before.

    Can be run again at any time; what is done already is not done twice. The exit code is 0 when
    all is done, 1 when something is left to you or a check failed, 2 when it could not be done.
    """
    if sys.platform != "linux" or own_id() is None:
        fail("this command knows Linux only: see the installation by hand")
    config = orthanc_config.absolute()
    parts = (account, project, location, dataset, dicom_store, credentials)
    given = dict(zip(_PARTS, parts, strict=True))
    if uninstall and any(parts):
        fail("--uninstall takes no account")
    try:
        if uninstall:
            _uninstall(config, credentials_folder, dry_run)
        else:
            _install(config, user, given, credentials_folder, dry_run)
    except GcpError as error:
        fail(str(error))
    except PermissionError as error:
        from orthanc_gcp.configuration.files import unreadable

        fail(str(unreadable(config, error)))


def _install(
    config: Path,
    user: str | None,
    given: dict[str, str | None],
    credentials_folder: Path | None,
    dry_run: bool,
) -> None:
    from orthanc_gcp.installation.host import Host
    from orthanc_gcp.installation.install import plan_installation
    from orthanc_gcp.installation.steps import refuse_what_cannot_be_written

    host = Host.find(config, _service(config, user))
    host.refuse_other_python()
    host.refuse_other_user()
    folder = (credentials_folder or host.files.credentials_folder).absolute()
    plan = plan_installation(host, _account(host, given), folder)
    refuse_what_cannot_be_written(plan.steps)
    host.refuse_hidden_package()
    _do(plan.steps, plan.notes, dry_run)
    checked = 0
    if plan.has_account and not dry_run:
        checked = _check(config, user)
    elif not plan.has_account:
        place = host.files.section_file if host.files.is_folder else config
        say(f"There is no account yet: write one into {place}, its credential into")
        say(f"{folder}, and run: orthanc-gcp check {config}")
    if plan.own_script:
        _say_lines(plan.own_script, host.files.script)
    say(f"Then: {_restart(config)}")
    raise click.exceptions.Exit(1 if checked or plan.own_script else 0)


def _uninstall(config: Path, credentials_folder: Path | None, dry_run: bool) -> None:
    from orthanc_gcp.installation.configuration_files import ConfigurationFiles
    from orthanc_gcp.installation.steps import refuse_what_cannot_be_written
    from orthanc_gcp.installation.undo import plan_removal
    from orthanc_gcp.orthanc.installation import service_of

    service = service_of(config)
    environment = (service.environment if service else None) or os.environ
    files = ConfigurationFiles.read(config, environment)
    folder = (credentials_folder or files.credentials_folder).absolute()
    steps, notes = plan_removal(files, folder)
    refuse_what_cannot_be_written(steps)
    _do(steps, notes, dry_run)
    if steps:
        say(f"Then: {_restart(config)}")


def _service(config: Path, user: str | None) -> Service:
    """Who runs Orthanc with this configuration: found, said, or asked for."""
    from orthanc_gcp.installation.host import refuse_other_start
    from orthanc_gcp.orthanc.installation import service_of, services_of

    if not config.exists():
        fail(f"there is no {config}: name what Orthanc is started with by --orthanc-config")
    refuse_other_start(config)
    # Whoever runs it is given credentials.
    services = [one for one in services_of(config) if one.is_trusted]
    users = list(dict.fromkeys(one.user for one in services))
    if user is None and len(users) == 1:
        return services[0]
    if user is None:
        found = (
            f"Orthanc is run by {' and by '.join(users)}"
            if users
            else (f"nobody is found to run Orthanc with {config}")
        )
        user = _asked("--user", f"{found}. The user that it runs as", "orthanc")
    return service_of(config, user) or fail(f"nobody is found to run Orthanc with {config}")


def _account(host: Host, given: dict[str, str | None]) -> NewAccount | None:
    """The first account: as it is given, or asked for at a terminal; maybe none."""
    from orthanc_gcp.installation.section import SECTION, NewAccount

    if given["name"] is None:
        others = [_PARTS[part][0] for part, value in given.items() if value is not None]
        if others:
            fail(f"{others[0]} belongs to an account: name it by --account")
        if SECTION in host.files.options or not sys.stdin.isatty():
            return None
        given["name"] = click.prompt("Name of a first account (none: Enter)", default="") or None
        if given["name"] is None:
            return None
    return NewAccount(
        **{part: _asked(*_PARTS[part]) if value is None else value for part, value in given.items()}
    )


def _asked(option: str, question: str, default: str | None = None) -> str:
    if not sys.stdin.isatty():
        fail(f"{question} is not known: say it by {option}")
    return str(click.prompt(question, default=default))


def _do(steps: list[Step], notes: list[str], dry_run: bool) -> None:
    """Do the steps, and say each."""
    from orthanc_gcp.installation.steps import perform

    for step in steps if dry_run else perform(steps):
        say(f"would {step}" if dry_run else f"done: {step}")
    if not steps:
        say("nothing is to be done")
    for note in notes:
        say(f"note: {note}")


def _check(config: Path, user: str | None) -> int:
    """What Orthanc will find; the exit code."""
    command = [sys.executable, "-m", "orthanc_gcp", "check", str(config), "--before-restart"]
    command += ["--user", user] if user else []
    # In a folder of nobody else's, whose files Python would take for modules.
    return subprocess.run(command, cwd="/", check=False).returncode  # noqa: S603 - ourselves # nosec B603


def _say_lines(own: Path, script: Path) -> None:
    """How a script of the user's loads the plugin."""
    say(
        f"Orthanc runs {own}, a script of your own, which stays. Add these lines to it:\n\n"
        "import sys\n"
        f'sys.path.append("{script.parent}")\n'
        f"import {script.stem}\n\n"
        "and have its function for orthanc.RegisterOnChangeCallback(), or a new one, call\n\n"
        f"{script.stem}.on_change(change_type, level, resource)\n"
    )


def _restart(config: Path) -> str:
    from orthanc_gcp.orthanc.installation import services_of

    units = [one.source for one in services_of(config) if one.source.endswith(".service")]
    return f"systemctl restart {units[0].removesuffix('.service')}" if units else "restart Orthanc"
