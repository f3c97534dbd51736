"""``orthanc-gcp audit``: Orthanc, the ledger and the stores against each other, as they are now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orthanc_gcp.commands.arguments import (
    config_argument,
    fail,
    json_option,
    needs,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.commands.ledger_access import open_ledger, refuse_unknown_account
from orthanc_gcp.errors import OrthancError

__all__ = ["audit"]

_DATE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command()
@config_argument
@orthanc_option("audit")
@click.option(
    "--without-orthanc",
    is_flag=True,
    help="Do not ask Orthanc: compare the ledger with the stores alone.",
)
@click.option("--study", metavar="UID", help="Only this Study Instance UID.")
@click.option(
    "--since",
    type=_DATE,
    metavar="DATE",
    help="Only studies with instances received from then on, in UTC: 2026-01-31 or "
    "2026-01-31T18:00:00.",
)
@click.option(
    "--until",
    type=_DATE,
    metavar="DATE",
    help="Only studies with instances received before then.",
)
@click.option("--account", metavar="NAME", help="Only at this account.")
@click.option(
    "--bytes",
    "contents",
    is_flag=True,
    help="Read all instances, and compare their digests with those of the ledger and of Orthanc.",
)
@click.option(
    "--fix", is_flag=True, help="Have the worker send what is missing, as far as Orthanc has it."
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all that is found into a new file, as JSON lines.",
)
@click.option("--resume", is_flag=True, help="Go on with the same audit, which was broken off.")
@json_option
@needs("worker")
def audit(**options: Any) -> None:
    """Audit: compare what Orthanc holds, what the ledger says, and what the stores have now.

    The exit code is 0 when all that Orthanc holds and the rules want is in its stores, 1 when it is
    not, 2 when something could not be asked, and 130 when it was broken off.
    """
    from orthanc_gcp.commands.audit.options import Options
    from orthanc_gcp.commands.audit.run import run
    from orthanc_gcp.ledger.uids import storable

    study = options.pop("study")
    asked = Options(study=None if study is None else storable(study), **options)
    if asked.fix and asked.without_orthanc:
        fail("--fix needs Orthanc: what it does not have cannot be sent")
    if asked.since and asked.until and asked.since >= asked.until:
        fail(f"nothing is from {asked.since} on and before {asked.until}: --until is to be later")
    settings = settings_of([asked.config])
    if asked.account in settings.rejected:
        fail(settings.rejections[asked.account])
    refuse_unknown_account(asked.account, [one.name for one in settings.accounts])
    with open_ledger(settings) as ledger:
        try:
            code = run(asked, settings, ledger)
        except OrthancError as error:
            fail(f"{error}; --without-orthanc compares the ledger with the stores alone")
    raise click.exceptions.Exit(code)
