"""``orthanc-gcp retry``: sends again what is in quarantine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import config_argument, json_option, needs, settings_of
from orthanc_gcp.commands.ledger_access import known_account, open_ledger
from orthanc_gcp.commands.live.queued import say_queued, wait_option
from orthanc_gcp.commands.quarantine.choice import Choice, choice_options, refuse_unknown

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["retry", "retry_chosen"]


@click.command()
@config_argument
@choice_options
@wait_option
@json_option
@needs("worker")
def retry(
    config: Path,
    account: str | None,
    study: str | None,
    instance: str | None,
    reason: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Queue again what is in quarantine, all of it or what is chosen.

    With --wait, the exit code is 0 only when all of it is confirmed, and nothing is left; else 1.
    """
    choice = Choice(account, study, instance, reason)
    settings = settings_of([config])
    with open_ledger(settings) as ledger:
        known_account(ledger, settings, account)
        retry_chosen(ledger, settings, choice, wait=wait, as_json=as_json)


def retry_chosen(
    ledger: Ledger,
    settings: Settings,
    choice: Choice,
    *,
    dismissed: bool = False,
    wait: bool,
    as_json: bool,
) -> None:
    """Queue again what was chosen, say so, and follow it where that is wanted; ends the command.

    Parameters
    ----------
    dismissed
        Whether it is about what was dismissed, in place of the quarantine.
    """
    from orthanc_gcp.custody.reporting import operations

    named = bool(choice.study or choice.instance)
    refuse_unknown(ledger, choice, operations.retried_states(named=named, dismissed=dismissed))
    chosen = choice.selection
    rows = operations.retry(
        ledger,
        chosen.account,
        study=chosen.study_instance_uid,
        instance=chosen.sop_instance_uid,
        reason=chosen.reason,
        dismissed=dismissed,
    )
    left = operations.not_retried(ledger, chosen, dismissed=dismissed)
    say_queued(ledger, settings, "queued again", rows, left=left, wait=wait, as_json=as_json)
