"""``orthanc-gcp destinations``: which stores accounts are, and what is open of those they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orthanc_gcp.commands.arguments import config_argument, fail, json_option, needs, settings_of
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger, refuse_unknown_account
from orthanc_gcp.commands.printing import say

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.custody.reporting.destinations import DestinationStatus
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["destinations"]


@click.command()
@config_argument
@click.option(
    "--hand-over", type=int, metavar="NUMBER", help="Send what is open of a former store elsewhere."
)
@click.option(
    "--to", metavar="ACCOUNT", help="Where; without it, to what its own account is by now."
)
@click.option("--close", type=int, metavar="NUMBER", help="Send nothing more to a former store.")
@json_option
@needs("worker")
def destinations(
    config: Path, hand_over: int | None, to: str | None, close: int | None, as_json: bool
) -> None:
    """List the stores that accounts are, and were; hand over what is open, or close it.

    An account that gets another store in the configuration is another destination: what was to be
    sent to the former one waits for that.
    """
    if hand_over is not None and close is not None:
        fail("expected one of --hand-over and --close")
    if to is not None and hand_over is None:
        fail("--to belongs to --hand-over")
    settings = settings_of([config])
    with open_ledger(settings) as ledger:
        from orthanc_gcp.custody.intake import former_stores as module

        if hand_over is not None:
            former = _former(ledger, settings, hand_over)
            account = to or former.destination.account
            refuse_unknown_account(account, [one.name for one in settings.accounts])
            moved = module.hand_over(ledger, hand_over, account)
            done, words = {"To": account, "HandedOver": moved}, f"handed over to {account}"
            _say(ledger, hand_over, words, moved, done, as_json=as_json)
        elif close is not None:
            _former(ledger, settings, close)
            closed = module.close(ledger, close)
            _say(ledger, close, "withdrawn", closed, {"Withdrawn": closed}, as_json=as_json)
        else:
            _list(ledger, settings, as_json=as_json)


def _former(ledger: Ledger, settings: Settings, number: int) -> DestinationStatus:
    """End the command when there is no such destination, or when it may be one that is sent to.

    The configuration names it, or would if it had no mistake; or a worker runs that was started
    with another one, such as this one before it was changed.
    """
    from orthanc_gcp.custody.reporting.destinations import destinations as all_of
    from orthanc_gcp.ledger.workers import served

    known = {one.destination.id: one for one in all_of(ledger)}
    if number not in known:
        numbers = ", ".join(map(str, known))
        fail(f"there is no destination {number}: expected one of {numbers or 'none'}")
    account = known[number].destination.account
    if known[number].configured:
        fail(f"the configuration names {number} as account {account}: what is open is sent there")
    if account in settings.rejections:
        fail(
            f"whether the configuration names {number} is not known before this is corrected: "
            f"{settings.rejections[account]}"
        )
    if number in {one for one, _ in served(ledger.engine)}:
        fail(
            f"a worker that runs sends what is open of {number}, by the configuration that it was "
            "started with: stop it first, or start it again with the one that is meant"
        )
    return known[number]


def _say(
    ledger: Ledger, number: int, words: str, moved: int, done: dict[str, Any], *, as_json: bool
) -> None:
    """What became of so many instances of a destination, and how many are left there."""
    from orthanc_gcp.custody.reporting.destinations import destinations as all_of

    (now,) = all_of(ledger, [number])
    left = now.open_instances + now.counts.quarantined.instances
    if as_json:
        say(json.dumps({"Destination": number, **done, "Left": left}, indent=2))
    else:
        rest = f", left: {left}" if left else ""
        say(f"{words}: {count(moved, 'instance')}{rest}")


def _list(ledger: Ledger, settings: Settings, *, as_json: bool) -> None:
    from orthanc_gcp.clock import age
    from orthanc_gcp.custody.reporting.destinations import destinations as all_of
    from orthanc_gcp.custody.reporting.timestamps import utc

    found = all_of(ledger)
    if as_json:
        say(json.dumps([one.as_json() for one in found], indent=2))
        return
    for one in found:
        place = one.destination
        line = f"{place.id}: account {place.account}, {place.name or 'a store that is not known'}"
        line += f", since {utc(place.since)}"
        if place.account in settings.rejections:
            line += ", the configuration of the account has a mistake"
        elif not one.configured:
            line += ", not in the configuration"
        line += f", open: {count(one.open_instances, 'instance')}"
        if one.oldest_open_seconds is not None:
            line += f", the oldest since {age(one.oldest_open_seconds)}"
        line += f", in quarantine: {one.counts.quarantined.instances:,}"
        line += f", confirmed: {one.counts.confirmed.instances:,}"
        say(line)
