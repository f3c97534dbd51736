"""``orthanc-gcp receipt``: what became of a study, as a record."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import click

from orthanc_gcp.commands.arguments import (
    CONFIGURATION,
    fail,
    json_option,
    needs,
    settings_of,
)
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger, standstill_of
from orthanc_gcp.commands.printing import say
from orthanc_gcp.commands.receipt_signature import show_key, verify_file

__all__ = ["receipt"]


@click.command()
@click.argument(
    "config",
    metavar="[CONFIG]",
    type=CONFIGURATION,
    required=False,
    help="Orthanc's configuration: a file, or a folder; not needed for --verify.",
)
@click.argument("study", required=False, help="The Study Instance UID.")
@click.option("--account", metavar="NAME", help="Only from this account.")
@click.option(
    "--verify",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Whether the signature of a file fits, and with CONFIG, whether it is this ledger's.",
)
@click.option("--key", is_flag=True, help="The ledger's public key, which a site should note.")
@json_option
@needs("worker")
def receipt(
    config: Path | None,
    study: str | None,
    account: str | None,
    verify: Path | None,
    key: bool,
    as_json: bool,
) -> None:
    """Print who sent what of a study to where, when, and what the store was seen to have.

    The exit code is 0 only when every instance is confirmed; with --verify, only when the signature
    fits. The document that --json prints is signed with the key of the ledger.
    """
    if (verify or key) and (study or account or (verify and key)):
        fail("--verify and --key go without a study, without --account and without each other")
    if verify:
        is_good = verify_file(verify, config, as_json=as_json)
    elif config is None or (study is None and not key):
        fail("expected CONFIG and STUDY, --verify FILE [CONFIG], or --key CONFIG")
    elif key:
        is_good = True
        show_key(config, as_json=as_json)
    else:
        is_good = _print(config, str(study), account, as_json=as_json)
    raise click.exceptions.Exit(0 if is_good else 1)


def _print(config: Path, study: str, account: str | None, *, as_json: bool) -> bool:
    """Print the receipts of a study; answers whether all of it is confirmed."""
    settings = settings_of([config])
    with open_ledger(settings) as ledger:
        from orthanc_gcp.custody.reporting.receipts import receipts
        from orthanc_gcp.custody.signatures.signing_key import issued

        try:
            why = standstill_of(ledger, settings)
            found = [one.as_json() for one in receipts(ledger, study, account, why)]
        except KeyError:
            to = f" to account {account}" if account else ""
            fail(f"the ledger knows of no study {study} that was to be sent{to}")
        complete = all(each["Complete"] for each in found)
        if as_json:
            document = {"Study": study, "Complete": complete, "Accounts": found}
            say(json.dumps(issued(ledger, document), indent=2))
            return complete
    configured = {*settings.rejections, *(one.name for one in settings.accounts)}
    for each in found:
        say("\n".join(_lines(each, configured)))
    return complete


def _lines(document: dict[str, Any], configured: Collection[str]) -> Iterator[str]:
    yield f"study {document['Study']}, account {document['Account']}: {_completeness(document)}"
    gone = document["Account"] not in configured
    note = "; the configuration has this account no more" if gone else ""
    yield f"store         {document['Store'] or 'unknown'}{note}"
    for one in document["Stores"]:
        if not one["Current"]:
            said = f"{one['Confirmed']} of {count(one['Instances'], 'instance')} confirmed there"
            yield f"before        {one['Store'] or 'unknown'}, {said}"
    yield f"sent by       {', '.join(document['SentBy']) or 'unknown'}"
    yield f"worker        {', '.join(document['Workers'])}"
    yield f"Orthanc       {', '.join(document['Sources'])}"
    for name in ("Received", "Acknowledged", "Confirmed"):
        yield f"{name.lower():14}{' to '.join(document[name]) or 'nothing'}"
    yield f"SHA-256       {document['Sha256'] or 'nothing is confirmed'}"
    for series in document["Series"]:
        yield f"series {series['Series']}"
        for one in series["Instances"]:
            if one["Store"] != document["Store"]:
                yield f"  for {one['Store'] or 'an unknown store'}:"
            yield f"  {one['Instance']}  {one['Bytes']} bytes  SHA-256 {one['Sha256'] or 'unknown'}"
            yield f"    {_history(one)}"
    if document["OlderEvents"]:
        yield f"{document['OlderEvents']} older events are left out"
    for event in document["Events"]:
        what = f"{event['Kind']} {event['Instance']}".strip()
        yield f"{event['Time']}  {what}  {event['Detail'] or ''}".rstrip()


def _completeness(document: dict[str, Any]) -> str:
    size = f"{count(document['Instances'], 'instance')}, {document['Bytes']:,} bytes"
    if document["Complete"]:
        return f"wholly confirmed, {size}"
    states = ", ".join(f"{number} {state}" for state, number in sorted(document["States"].items()))
    return f"NOT WHOLLY CONFIRMED, {size}: {states}"


def _history(one: dict[str, Any]) -> str:
    times = [f"received {one['Received']}"]
    times += [f"{name.lower()} {one[name]}" for name in ("Acknowledged", "Confirmed") if one[name]]
    if one["State"] != "confirmed":
        said = [one[name] for name in ("Reason", "Detail") if one[name]]
        reason = f" ({': '.join(said)})" if said else ""
        times.append(f"now {one['State']}{reason}")
    return ", ".join(times)
