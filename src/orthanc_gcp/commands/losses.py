"""``orthanc-gcp losses``: what Orthanc has recycled before it was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import config_argument, json_option, needs, settings_of
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.commands.printing import say

if TYPE_CHECKING:
    from orthanc_gcp.custody.reporting.losses import Losses

__all__ = ["losses"]

LOST = 1
"""The exit code while there are losses that nobody has acknowledged."""


@click.command()
@config_argument
@click.option("--acknowledge", is_flag=True, help="A person knows of them: they are over.")
@json_option
@needs("worker")
def losses(config: Path, acknowledge: bool, as_json: bool) -> None:
    """List what Orthanc has recycled before it was sent, or before it could be read.

    The exit code is 1 when there is something that nobody has acknowledged yet.
    """
    with open_ledger(settings_of([config])) as ledger:
        from orthanc_gcp.custody.reporting import losses as module

        found = module.acknowledge(ledger) if acknowledge else module.losses(ledger)
    if as_json:
        say(json.dumps(found.as_json(), indent=2))
    else:
        for line in _lines(found, acknowledged=acknowledge):
            say(line)
    if (found.studies or found.changes) and not acknowledge:
        raise SystemExit(LOST)


def _lines(found: Losses, *, acknowledged: bool) -> Iterator[str]:
    from orthanc_gcp.custody.reporting.timestamps import utc

    for study in found.studies:
        received = utc(study.first_received_at)
        yield (
            f"{study.account}: study {study.study_instance_uid}: "
            f"{count(study.instances, 'instance')} of Orthanc {study.source}, received {received}"
        )
    for gap in found.changes:
        yield (
            f"{gap.account}: {count(gap.changes, 'change')} of Orthanc {gap.source}, numbers "
            f"{gap.first_seq} to {gap.last_seq}, noticed {utc(gap.noticed_at)}: of which instances "
            "is not known"
        )
    if not (found.studies or found.changes):
        yield "nothing is lost that nobody has acknowledged"
    elif acknowledged:
        yield "acknowledged"
