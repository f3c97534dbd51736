"""``orthanc-gcp indexes``: which Orthancs were followed, and what is open of one that is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orthanc_gcp.commands.arguments import (
    config_argument,
    fail,
    json_option,
    needs,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.commands.printing import say
from orthanc_gcp.errors import OrthancError

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.custody.intake.open_transfers import OpenTransfers
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["indexes"]


@click.command()
@config_argument
@orthanc_option("indexes")
@click.option("--hand-over", metavar="INDEX", help="Have Orthanc send what is open of another.")
@click.option("--close", metavar="INDEX", help="Send nothing more of an index.")
@click.option("--separate", is_flag=True, help="Orthanc has a copy: follow it by itself.")
@click.option(
    "--accept-ledger", metavar="INDEX", help="It had another ledger before: that is meant."
)
@click.option("--protected", is_flag=True, help="List patients that are protected for nothing.")
@click.option("--unprotect", metavar="PATIENT", help="Let Orthanc recycle one of these, or all.")
@json_option
@needs("worker")
def indexes(
    config: Path,
    orthanc: str | None,
    hand_over: str | None,
    close: str | None,
    separate: bool,
    accept_ledger: str | None,
    protected: bool,
    unprotect: str | None,
    as_json: bool,
) -> None:
    """List the indexes of Orthanc that were followed; hand over what is open, or close it.

    An index is Orthanc's database. Its name here stays when Orthanc is renamed.
    """
    named = [one for one in (hand_over, close, accept_ledger, unprotect) if one is not None]
    if len(named) + separate + protected > 1:
        fail(
            "expected one of --hand-over, --close, --separate, --accept-ledger, --protected and "
            "--unprotect"
        )
    settings = settings_of([config])
    with open_ledger(settings) as ledger:
        from orthanc_gcp.custody.intake import open_transfers as module

        try:
            if separate or hand_over is not None:
                done, words = _with_orthanc(ledger, settings, orthanc, hand_over)
            elif protected or unprotect is not None:
                done, words = _protections(ledger, settings, orthanc, unprotect)
            elif accept_ledger is not None:
                done, words = _accept(ledger, accept_ledger)
            elif close is not None:
                _gone(ledger, close)
                closed = module.close(ledger, close)
                done = {"Index": close, "Withdrawn": closed}
                words = f"withdrawn: {count(closed, 'instance')}"
            else:
                _list(module.open_transfers(ledger), as_json=as_json)
                return
        except OrthancError as error:
            fail(str(error))
    say(json.dumps(done, indent=2) if as_json else words)


_ALL = "all"
Done = tuple[dict[str, Any], str]
"""What was done: for programs, and in words."""


def _with_orthanc(
    ledger: Ledger, settings: Settings, orthanc: str | None, source: str | None
) -> Done:
    from orthanc_gcp.custody.intake import open_transfers as module
    from orthanc_gcp.custody.intake.identity import source_of
    from orthanc_gcp.orthanc.resources import OrthancSource

    rest = OrthancSource(orthanc_of(settings, orthanc, "indexes"), settings.storage_folder)
    if source is None:
        index = module.separate(ledger, rest)
        return {"Index": index, "Separated": True}, f"followed by itself from now on: {index}"
    _gone(ledger, source)
    to = source_of(ledger, rest)
    if to == source:
        fail(f"this Orthanc has {source} itself: start its worker")
    moved = module.hand_over(ledger, rest, source, to)
    left = sum(one.instances for one in module.open_transfers(ledger) if one.source == source)
    done = {"Index": source, "To": to, "HandedOver": moved, "Left": left}
    return done, f"handed over to {to}: {count(moved, 'instance')}, left: {left}"


def _protections(
    ledger: Ledger, settings: Settings, orthanc: str | None, patient: str | None
) -> Done:
    """List the patients that Orthanc protects and the ledger does not know, or end that."""
    from orthanc_gcp.custody.intake.identity import source_of
    from orthanc_gcp.custody.intake.other_protections import other_protections, unprotect
    from orthanc_gcp.orthanc.resources import OrthancSource

    rest = OrthancSource(orthanc_of(settings, orthanc, "indexes"), settings.storage_folder)
    index = source_of(ledger, rest)
    if patient is None:
        found = list(other_protections(ledger, rest.recycling, index))
        return {"Index": index, "Protected": found}, "\n".join(found) or "none"
    names = [patient]
    if patient == _ALL:
        names = list(other_protections(ledger, rest.recycling, index))
    ended = unprotect(ledger, rest.recycling, index, names)
    done = {"Index": index, "Unprotected": ended}
    return done, f"not protected any more: {count(ended, 'patient')}"


def _accept(ledger: Ledger, source: str) -> Done:
    from orthanc_gcp.custody.intake.former_ledgers import accept

    if not accept(ledger, source):
        fail(f"there is no index {source} that had another ledger before")
    done = {"Index": source, "LedgerAccepted": True}
    return done, f"{source}: this ledger is the one that counts"


def _gone(ledger: Ledger, source: str) -> None:
    """End the command when there is no such index, or an Orthanc has it."""
    from orthanc_gcp.custody.intake.open_transfers import SEEN_WITHIN, open_transfers

    known = {one.source: one for one in open_transfers(ledger)}
    if source not in known:
        fail(f"there is no index {source}: expected one of {', '.join(sorted(known)) or 'none'}")
    if known[source].reason is None:
        minutes = SEEN_WITHIN / 60
        fail(f"an Orthanc had {source} within the last {minutes:g} minutes: stop its worker first")


def _list(found: list[OpenTransfers], *, as_json: bool) -> None:
    from orthanc_gcp.clock import age
    from orthanc_gcp.custody.reporting.activity import index_as_json
    from orthanc_gcp.custody.reporting.timestamps import utc

    if as_json:
        say(json.dumps(list(map(index_as_json, found)), indent=2))
        return
    for one in found:
        line = f"{one.source}: Orthanc {one.name}, seen {utc(one.seen_at) or 'never'}"
        line += f", open: {count(one.instances, 'instance')}"
        if one.oldest_seconds is not None:
            line += f", the oldest since {age(one.oldest_seconds)}"
        if one.reason is not None:
            line += f"; {one.reason}"
        say(line)
