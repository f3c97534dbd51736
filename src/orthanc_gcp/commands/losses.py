"""``orthanc-gcp losses``: what is not in Orthanc any more, unsent, and who knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import config_argument, fail, json_option, needs, settings_of
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.commands.printing import say
from orthanc_gcp.users import this_user

if TYPE_CHECKING:
    from orthanc_gcp.custody.reporting.losses import (
        Acknowledgements,
        Losses,
        LostChanges,
        LostStudy,
    )
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["losses"]

LOST = 1
"""The exit code while there are losses that nobody has acknowledged."""


@click.command()
@config_argument
@click.option(
    "--acknowledge",
    "listed",
    metavar="LIST",
    help="A person knows of what was listed under this name: it is over.",
)
@click.option("--by", metavar="NAME", help="Who knows of it; without it, this machine's user.")
@click.option("--all", "everything", is_flag=True, help="List what was acknowledged, too.")
@json_option
@needs("worker")
def losses(
    config: Path, listed: str | None, by: str | None, everything: bool, as_json: bool
) -> None:
    """List what Orthanc does not have any more, and was not sent, or could not be read.

    The exit code is 1 when there is something that nobody has acknowledged yet.
    """
    if listed is None and by is not None:
        fail("--by belongs to --acknowledge")
    if listed is not None and everything:
        fail("expected one of --acknowledge and --all")
    with open_ledger(settings_of([config])) as ledger:
        from orthanc_gcp.custody.reporting import losses as module

        if listed is not None:
            _acknowledge(ledger, listed, by, as_json=as_json)
            return
        found = module.losses(ledger)
        former = module.acknowledgements(ledger) if everything else None
    if as_json:
        more = {} if former is None else {"Acknowledged": former.as_json()}
        say(json.dumps({**found.as_json(), **more}, indent=2))
    else:
        for line in _lines(found, former, str(config)):
            say(line)
    if found.listed is not None:
        raise SystemExit(LOST)


def _acknowledge(ledger: Ledger, listed: str, name: str | None, *, as_json: bool) -> None:
    from orthanc_gcp.custody.reporting.losses import ListChangedError, acknowledge
    from orthanc_gcp.custody.reporting.quarantine import LONGEST_NAME, as_typed, word_fault

    if name is not None and (fault := word_fault(name, LONGEST_NAME)):
        fail(f"--by: {fault}")
    by = this_user() if name is None else as_typed(name)
    try:
        done = acknowledge(ledger, listed, by=by)
    except (ValueError, ListChangedError) as error:
        fail(f"--acknowledge: {error}")
    if as_json:
        say(json.dumps({**done.as_json(), "By": by}, indent=2))
        return
    for loss in done.all:
        say(_line(loss))
    say(f"acknowledged by {by}")


def _lines(found: Losses, former: Acknowledgements | None, config: str) -> Iterator[str]:
    from orthanc_gcp.custody.reporting.timestamps import utc

    for loss in found.all:
        yield _line(loss)
    if found.listed is None:
        yield "nothing is lost that nobody has acknowledged"
    else:
        yield (
            "who knows of all this acknowledges it: "
            f"orthanc-gcp losses {config} --acknowledge {found.listed}"
        )
    for one in (*former.studies, *former.changes) if former else ():
        yield f"acknowledged {utc(one.at)} by {one.by or 'somebody'}: {_line(one.loss)}"


def _line(loss: LostStudy | LostChanges) -> str:
    from orthanc_gcp.custody.reporting.losses import LostStudy
    from orthanc_gcp.custody.reporting.timestamps import utc

    if isinstance(loss, LostStudy):
        return (
            f"{loss.account}: study {loss.study_instance_uid}: "
            f"{count(loss.instances, 'instance')} of Orthanc {loss.source}, "
            f"received {utc(loss.first_received_at)}"
        )
    if not loss.last_seq:
        return (
            f"{loss.account}: {count(loss.changes, 'newer version')} of what Orthanc {loss.source} "
            f"has, gone with its index, noticed {utc(loss.noticed_at)}"
        )
    return (
        f"{loss.account}: {count(loss.changes, 'change')} of Orthanc {loss.source}, numbers "
        f"{loss.first_seq} to {loss.last_seq}, noticed {utc(loss.noticed_at)}: of which instances "
        "is not known"
    )
