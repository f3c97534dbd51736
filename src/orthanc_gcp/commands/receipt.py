"""``orthanc-gcp receipt``: what became of a study, to be kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orthanc_gcp.commands.arguments import (
    config_argument,
    fail,
    json_option,
    needs,
    settings_of,
)
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import opened

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings

__all__ = ["receipt"]


@click.command()
@config_argument
@click.argument("study", help="The Study Instance UID.")
@click.option("--account", metavar="NAME", help="Only from this account.")
@json_option
@needs("worker")
def receipt(config: Path, study: str, account: str | None, as_json: bool) -> None:
    """Print who sent what of a study to where, when, and what the store was seen to have.

    The exit code is 0 only when every instance is confirmed.
    """
    settings = settings_of([config])
    with opened(settings) as ledger:
        from orthanc_gcp.custody.reporting.receipts import receipts

        try:
            found = [one.as_json() for one in receipts(ledger, study, account)]
        except KeyError:
            to = f" to account {account}" if account else ""
            fail(f"the ledger knows of no study {study} that was to be sent{to}")
    for each in found:
        each["Store"] = _store(settings, each["Account"])
    complete = all(each["Complete"] for each in found)
    if as_json:
        told = {"Study": study, "Complete": complete, "Accounts": found}
        click.echo(json.dumps(told, indent=2))
    else:
        for each in found:
            click.echo("\n".join(_lines(each)))
    raise click.exceptions.Exit(0 if complete else 1)


def _store(settings: Settings, name: str) -> str | None:
    """Which store the account is; None when it is configured no more."""
    return next((one.store_path for one in settings.accounts if one.name == name), None)


def _lines(told: dict[str, Any]) -> Iterator[str]:
    yield f"study {told['Study']}, account {told['Account']}: {_verdict(told)}"
    yield f"store         {told['Store'] or 'the configuration has this account no more'}"
    yield f"sent by       {', '.join(told['SentBy']) or 'unknown'}"
    yield f"worker        {', '.join(told['Workers'])}"
    yield f"Orthanc       {', '.join(told['Sources'])}"
    for name in ("Received", "Acknowledged", "Confirmed"):
        yield f"{name.lower():14}{' to '.join(told[name]) or 'nothing'}"
    yield f"SHA-256       {told['Sha256'] or 'nothing is confirmed'}"
    for series in told["Series"]:
        yield f"series {series['Series']}"
        for one in series["Instances"]:
            yield f"  {one['Instance']}  {one['Bytes']} bytes  SHA-256 {one['Sha256'] or 'unknown'}"
            yield f"    {_fate(one)}"
    if told["OlderEvents"]:
        yield f"{told['OlderEvents']} older events are left out"
    for event in told["Events"]:
        what = f"{event['Kind']} {event['Instance']}".strip()
        yield f"{event['Time']}  {what}  {event['Detail'] or ''}".rstrip()


def _verdict(told: dict[str, Any]) -> str:
    size = f"{count(told['Instances'], 'instance')}, {told['Bytes']:,} bytes"
    if told["Complete"]:
        return f"wholly confirmed, {size}"
    states = ", ".join(f"{count} {state}" for state, count in sorted(told["States"].items()))
    return f"NOT WHOLLY CONFIRMED, {size}: {states}"


def _fate(one: dict[str, Any]) -> str:
    times = [f"received {one['Received']}"]
    times += [f"{name.lower()} {one[name]}" for name in ("Acknowledged", "Confirmed") if one[name]]
    if one["State"] != "confirmed":
        reason = f" ({one['Reason']}: {one['Detail'] or ''})" if one["Reason"] else ""
        times.append(f"now {one['State']}{reason}")
    return ", ".join(times)
