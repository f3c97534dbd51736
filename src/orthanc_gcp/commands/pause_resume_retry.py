"""``orthanc-gcp retry``, ``pause`` and ``resume``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import config_argument, needs, settings_of
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger, refuse_unknown_account
from orthanc_gcp.commands.printing import say

if TYPE_CHECKING:
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["pause", "resume", "retry"]


@click.command()
@config_argument
@click.option("--account", metavar="NAME", help="Only to this account.")
@click.option("--study", metavar="UID", help="Only of this Study Instance UID.")
@click.option("--instance", metavar="UID", help="Only this SOP Instance UID.")
@click.option("--reason", metavar="REASON", help="Only what is there for this reason.")
@needs("worker")
def retry(
    config: Path, account: str | None, study: str | None, instance: str | None, reason: str | None
) -> None:
    """Queue again what is in quarantine, all of it or what is chosen."""
    with _ledger(config, account) as ledger:
        from orthanc_gcp.custody.reporting import operations

        again = operations.retry(ledger, account, study=study, instance=instance, reason=reason)
    say(f"queued again: {count(again, 'instance')}")


@click.command()
@config_argument
@click.argument("account", help="The account.")
@needs("worker")
def pause(config: Path, account: str) -> None:
    """Send no more to an account until "resume"; requests that run are finished."""
    with _ledger(config, account) as ledger:
        from orthanc_gcp.custody.reporting import operations

        operations.pause(ledger, account)
    say(f"account {account} is paused")


@click.command()
@config_argument
@click.argument("account", help="The account.")
@needs("worker")
def resume(config: Path, account: str) -> None:
    """Send to an account again after "pause"."""
    with _ledger(config, account) as ledger:
        from orthanc_gcp.custody.reporting import operations

        operations.resume(ledger, account)
    say(f"account {account} is sent to again")


@contextmanager
def _ledger(config: Path, account: str | None) -> Iterator[Ledger]:
    """The ledger, when it or the configuration knows the account."""
    settings = settings_of([config])
    with open_ledger(settings) as ledger:
        from orthanc_gcp.custody.reporting.overview import Overview

        known = Overview(ledger).accounts(one.name for one in settings.accounts)
        refuse_unknown_account(account, [one.account for one in known])
        yield ledger
