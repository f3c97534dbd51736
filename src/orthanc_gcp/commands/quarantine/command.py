"""``orthanc-gcp quarantine``: what needs a person, why, and what becomes of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orthanc_gcp.commands.arguments import config_argument, fail, json_option, needs, settings_of
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import known_account, open_ledger
from orthanc_gcp.commands.live.queued import wait_option
from orthanc_gcp.commands.printing import say
from orthanc_gcp.commands.quarantine.choice import Choice, choice_options, refuse_unknown
from orthanc_gcp.commands.quarantine.retry import retry_chosen
from orthanc_gcp.users import this_user

if TYPE_CHECKING:
    from orthanc_gcp.custody.reporting.instances import InstanceStatus
    from orthanc_gcp.custody.reporting.quarantine import QuarantineGroup
    from orthanc_gcp.ledger.ledger import Ledger
    from orthanc_gcp.ledger.schema import State

__all__ = ["quarantine"]

NEEDS_A_PERSON = 1
"""The exit code of a list that is not empty."""
_PAGE, _LARGEST = 1000, (1 << 63) - 1


@click.command()
@config_argument
@choice_options
@click.option(
    "--destination",
    metavar="NUMBER",
    type=click.IntRange(0, _LARGEST),
    help="Only at the store with this number, as orthanc-gcp destinations has it.",
)
@click.option("--show", is_flag=True, help="List each instance, in place of their number.")
@click.option("--retry", is_flag=True, help="Send again what is chosen, or all.")
@click.option(
    "--dismiss", metavar="WHY", help="Send nothing of what is chosen; why stands in the receipt."
)
@click.option("--listed", metavar="LIST", help="Of --dismiss: what a list has, by its name.")
@click.option("--all", "everything", is_flag=True, help="Of --dismiss: all that is in quarantine.")
@click.option("--by", metavar="NAME", help="Who dismisses; without it, this machine's user.")
@click.option("--dismissed", is_flag=True, help="What was dismissed, in place of the quarantine.")
@wait_option
@json_option
@needs("worker")
def quarantine(
    config: Path,
    account: str | None,
    study: str | None,
    instance: str | None,
    reason: str | None,
    destination: int | None,
    **options: Any,
) -> None:
    """List what is in quarantine by reason, with the remedy; send it again, or dismiss it.

    The exit code is 1 when a list has something in it that needs a person.
    """
    asked = _Asked(Choice(account, study, instance, reason, destination), **options)
    asked.refuse_contradictions()
    settings = settings_of([config])
    with open_ledger(settings) as ledger:
        known_account(ledger, settings, account)
        if asked.retry:
            how = {"dismissed": asked.dismissed, "wait": asked.wait, "as_json": asked.as_json}
            retry_chosen(ledger, settings, asked.choice, **how)
        refuse_unknown(ledger, asked.choice, [asked.state])
        if asked.dismiss is not None:
            _dismiss(ledger, asked)
        elif asked.show:
            _show(ledger, asked, config)
        else:
            _list(ledger, asked, config)


@dataclass(frozen=True)
class _Asked:
    """What a command line asks for."""

    choice: Choice
    show: bool
    retry: bool
    dismiss: str | None
    listed: str | None
    everything: bool
    by: str | None
    dismissed: bool
    wait: bool
    as_json: bool

    @property
    def state(self) -> State:
        """Where the instances are that it is about."""
        from orthanc_gcp.ledger.schema import State

        return State.DISMISSED if self.dismissed else State.QUARANTINED

    def refuse_contradictions(self) -> None:
        """End the command where options do not go together."""
        dismiss = self.dismiss is not None
        if self.show + self.retry + dismiss > 1:
            fail("expected one of --show, --retry and --dismiss")
        if not dismiss and (self.everything or self.by is not None or self.listed is not None):
            fail("--all, --by and --listed belong to --dismiss")
        if self.retry and self.choice.destination is not None:
            fail("--retry sends to the stores that the accounts are by now: without --destination")
        if self.wait and not self.retry:
            fail("--wait belongs to --retry")
        if dismiss and self.dismissed:
            fail("what is dismissed cannot be dismissed once more")
        if dismiss and self.everything is self.choice.is_narrow:
            fail("--dismiss: expected --study, --instance or --reason, or else --all")


def _dismiss(ledger: Ledger, asked: _Asked) -> None:
    from orthanc_gcp.custody.reporting.quarantine import (
        LONGEST_NAME,
        LONGEST_WHY,
        QuarantineChangedError,
        as_typed,
        dismiss,
        word_fault,
    )

    why = asked.dismiss or ""
    if fault := word_fault(why, LONGEST_WHY):
        fail(f"--dismiss: {fault}")
    if asked.by is not None and (fault := word_fault(asked.by, LONGEST_NAME)):
        fail(f"--by: {fault}")
    by = this_user() if asked.by is None else as_typed(asked.by)
    try:
        ended = dismiss(ledger, asked.choice.selection, by=by, why=why, listed=asked.listed)
    except (ValueError, QuarantineChangedError) as error:
        fail(f"--listed: {error}")
    if asked.as_json:
        say(json.dumps({"Dismissed": ended, "By": by}, indent=2))
    else:
        say(f"dismissed by {by}: {count(ended, 'instance')}")


def _show(ledger: Ledger, asked: _Asked, config: Path) -> None:
    """Each instance, page by page: memory does not grow with their number."""
    listed, separator = _listed(ledger, asked), "["
    any_ = False
    for page in _pages(ledger, asked):
        for one in page:
            any_ = True
            if asked.as_json:
                say(f"{separator}\n{json.dumps(one.as_json(), indent=2)}", nl=False)
                separator = ","
            else:
                say("\n".join(_lines_of(one)))
    if asked.as_json:
        say("\n]" if any_ else "[]")
    elif not any_:
        say(_NOTHING[asked.dismissed])
    elif listed is not None:
        say(_way_out(asked, listed, config))
    _end(any_=any_ and not asked.dismissed)


def _pages(ledger: Ledger, asked: _Asked) -> Iterator[Sequence[InstanceStatus]]:
    from dataclasses import replace

    from orthanc_gcp.custody.reporting.instances import instances

    after: str | None = ""
    while after is not None:
        selection = replace(asked.choice.selection, state=asked.state)
        page = instances(ledger, selection, after, _PAGE)
        yield page.items
        after = page.following


def _lines_of(one: InstanceStatus) -> Iterator[str]:
    from orthanc_gcp.custody.reporting.quarantine import remedy_for
    from orthanc_gcp.custody.reporting.timestamps import utc

    reason = one.reason or "unknown"
    yield f"{one.account}: {reason}: instance {one.sop_instance_uid}, {one.size_bytes:,} bytes"
    yield f"  study     {one.study_instance_uid}"
    yield f"  series    {one.series_instance_uid}"
    yield f"  Orthanc   {one.source}, {one.orthanc_id}, received {utc(one.received_at)}"
    yield f"  store     {one.store or 'unknown'}"
    yield f"  attempts  {one.attempts}"
    yield f"  detail    {one.detail or 'none'}"
    if one.state == "quarantined":
        yield f"  remedy    {remedy_for(reason)}"


def _list(ledger: Ledger, asked: _Asked, config: Path) -> None:
    from orthanc_gcp.custody.reporting.quarantine import quarantine as groups_of

    listed = _listed(ledger, asked)
    groups = groups_of(ledger, asked.choice.selection, asked.state)
    if asked.as_json:
        document = {"Groups": [one.as_json() for one in groups], "Listed": listed}
        say(json.dumps(document, indent=2))
    else:
        say("\n".join(line for one in groups for line in _lines(one)) or _NOTHING[asked.dismissed])
        if groups and listed is not None:
            say(_way_out(asked, listed, config))
    _end(any_=bool(groups) and not asked.dismissed)


def _listed(ledger: Ledger, asked: _Asked) -> str | None:
    """What names the list that is about to be shown; None of what was dismissed."""
    from orthanc_gcp.custody.reporting.quarantine import list_name

    return None if asked.dismissed else list_name(ledger, asked.choice.selection)


def _way_out(asked: _Asked, listed: str, config: Path) -> str:
    """How a person ends what was listed."""
    chosen = [*asked.choice.options, *([] if asked.choice.is_narrow else ["--all"])]
    words = shlex.join(["orthanc-gcp", "quarantine", str(config), *chosen, "--listed", listed])
    return f"who has looked at all this may dismiss it: {words} --dismiss WHY"


_NOTHING = {False: "nothing is in quarantine", True: "nothing is dismissed"}


def _lines(group: QuarantineGroup) -> Iterator[str]:
    from orthanc_gcp.custody.reporting.timestamps import utc

    sizes = f"{count(group.instances, 'instance')} of {count(group.studies, 'study')}"
    since = f"the oldest received {utc(group.oldest_received_at)}"
    yield f"{group.account}: {group.reason or 'unknown'}: {sizes}, {group.bytes:,} bytes, {since}"
    if not group.current:
        yield f"  for the former store {group.destination}: {group.store or 'it is not known'}"
    if group.detail:
        yield f"  such as {group.example}: {group.detail}"
    yield f"  {group.remedy}"


def _end(*, any_: bool) -> None:
    raise click.exceptions.Exit(NEEDS_A_PERSON if any_ else 0)
