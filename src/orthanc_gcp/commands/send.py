"""``orthanc-gcp send``: on demand, and what the rules would do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
from orthanc_gcp.commands.ledger_access import open_ledger, refuse_unknown_account
from orthanc_gcp.commands.live.queued import DELETED, say_queued, wait_option
from orthanc_gcp.commands.printing import say
from orthanc_gcp.errors import OrthancError

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.custody.intake.dry_run import DryRun, RuleResult, Selected
    from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["send"]


@click.command()
@config_argument
@click.argument(
    "resources",
    metavar="[RESOURCE]...",
    nargs=-1,
    help="Orthanc's identifiers of patients, studies, series or instances.",
)
@click.option("--to", metavar="ACCOUNT", help="Where to send.")
@orthanc_option("send")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing: tell what the rules would send of these resources, or of all that Orthanc "
    "has.",
)
@wait_option
@json_option
@needs("worker")
def send(
    config: Path,
    resources: tuple[str, ...],
    to: str | None,
    orthanc: str | None,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Have the worker send what Orthanc has, before what it backfills and after what comes in.

    With --wait, the exit code is 0 only when all of it is confirmed; else it is 1.
    """
    settings = settings_of([config])
    if to in settings.rejected:
        fail(settings.rejections[to])
    refuse_unknown_account(to, [one.name for one in settings.accounts])
    for resource in resources:
        if not resource.replace("-", "").isalnum():
            fail(f"Orthanc has no resource {resource}: expected its own identifiers, not UIDs")
    try:
        if dry_run:
            if wait:
                fail("--dry-run sends nothing that could be waited for")
            found = _dry_run(settings, _source(settings, orthanc), to, list(resources) or None)
            if as_json:
                say(json.dumps(_document(settings, found), indent=2))
            else:
                _print_dry_run(settings, found)
        elif to and resources:
            _send(settings, orthanc, to, list(resources), wait=wait, as_json=as_json)
        else:
            fail("name resources, and an account by --to; or ask for a --dry-run")
    except KeyError as error:
        fail(f"Orthanc has no resource {error.args[0]}")
    except OrthancError as error:
        fail(str(error))


def _send(
    settings: Settings,
    orthanc: str | None,
    account: str,
    resources: list[str],
    *,
    wait: bool,
    as_json: bool,
) -> None:
    with open_ledger(settings) as ledger:
        from orthanc_gcp.custody.intake.identity import source_of
        from orthanc_gcp.custody.intake.on_demand import send_on_demand
        from orthanc_gcp.custody.reporting.followed import rows_of

        source, rows, left = _source(settings, orthanc), list[int](), 0
        members = source.members(resources) if wait else resources
        queued = send_on_demand(ledger, source, account, members)
        if wait:
            rows = rows_of(ledger, account, source_of(ledger, source), members)
            left = len(members) - len(rows)
        say_queued(
            ledger,
            settings,
            f"queued for {account}",
            rows,
            queued=queued,
            left=left or None,
            why_left=DELETED,
            wait=wait,
            as_json=as_json,
        )


def _source(settings: Settings, orthanc: str | None) -> OrthancSource:
    from orthanc_gcp.orthanc.resources import OrthancSource

    return OrthancSource(orthanc_of(settings, orthanc, "send"), settings.storage_folder)


def _dry_run(
    settings: Settings, source: OrthancSource, to: str | None, resources: list[str] | None
) -> DryRun:
    from orthanc_gcp.configuration import SendRule
    from orthanc_gcp.custody.intake.dry_run import dry_run

    if settings.rule_problems and not to:
        # What a rule with a mistake in it was meant to send can only be guessed.
        fail("\n".join(map(str, settings.rule_problems)))
    rules = (SendRule(to=to),) if to else settings.rules
    return dry_run(source, rules, resources)


def _document(settings: Settings, found: DryRun) -> dict[str, Any]:
    from orthanc_gcp.custody.intake.dry_run import conditions

    return {
        "Rules": [
            {
                "To": result.rule.to,
                "Conditions": conditions(result.rule),
                **_selected(result.selected),
                "Missed": dict(result.missed),
                "Problem": settings.rejections.get(result.rule.to),
            }
            for result in found.rules
        ],
        "Unmatched": _selected(found.unmatched),
        "Problems": [str(problem) for problem in settings.sending_problems],
    }


def _selected(selected: Selected) -> dict[str, Any]:
    return {
        "Instances": selected.instances,
        "Bytes": selected.bytes,
        "Examples": list(selected.studies),
    }


def _print_dry_run(settings: Settings, found: DryRun) -> None:
    from orthanc_gcp.custody.intake.dry_run import conditions

    for result in found.rules:
        account = result.rule.to
        _print(f"to {account} ({conditions(result.rule)})", result.selected)
        if account in settings.rejections:
            say(f"  waits until this is corrected: {settings.rejections[account]}")
    _print("to nobody", found.unmatched)
    if found.unmatched.instances:
        for line in _reasons(found.rules):
            say(f"  {line}")
    for problem in settings.sending_problems:
        say(f"nothing is sent until this is corrected: {problem}")


def _print(where: str, selected: Selected) -> None:
    say(f"{where}: {count(selected.instances, 'instance')}, {selected.bytes:,} bytes")
    for study in selected.studies:
        say(f"  such as study {study}")


def _reasons(results: Sequence[RuleResult]) -> Iterator[str]:
    """Why nobody gets the rest."""
    if not results:
        yield 'there is no rule: "Send" of the configuration is empty'
    for number, result in enumerate(results):
        most_first = sorted(result.missed.items(), key=lambda item: -item[1])
        missed = ", ".join(f"{name} {times:,}" for name, times in most_first)
        yield f"Send[{number}], to {result.rule.to}: not met are {missed}"
