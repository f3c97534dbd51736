"""``orthanc-gcp retry``, ``pause`` and ``resume``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orthanc_gcp.commands.arguments import Config, settings_of
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import opened, the_account

if TYPE_CHECKING:
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["pause", "resume", "retry"]

Name = Annotated[str, typer.Argument(help="The account.")]


def retry(
    config: Config,
    account: Annotated[str | None, typer.Option(help="Only to this account.")] = None,
    study: Annotated[str | None, typer.Option(help="Only of this Study Instance UID.")] = None,
    instance: Annotated[str | None, typer.Option(help="Only this SOP Instance UID.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only what is there for this reason.")] = None,
) -> None:
    """Queue again what is in quarantine, all of it or what is chosen."""
    with _ledger(config, account) as ledger:
        from orthanc_gcp.custody.reporting import operations

        again = operations.retry(ledger, account, study=study, instance=instance, reason=reason)
    typer.echo(f"queued again: {count(again, 'instance')}")


def pause(config: Config, account: Name) -> None:
    """Send no more to an account until "resume"; requests that run are finished."""
    with _ledger(config, account) as ledger:
        from orthanc_gcp.custody.reporting import operations

        operations.pause(ledger, account)
    typer.echo(f"account {account} is paused")


def resume(config: Config, account: Name) -> None:
    """Send to an account again after "pause"."""
    with _ledger(config, account) as ledger:
        from orthanc_gcp.custody.reporting import operations

        operations.resume(ledger, account)
    typer.echo(f"account {account} is sent to again")


@contextmanager
def _ledger(config: Path, account: str | None) -> Iterator[Ledger]:
    """The ledger, when it or the configuration knows the account."""
    settings = settings_of([config])
    with opened(settings) as ledger:
        from orthanc_gcp.custody.reporting.overview import Overview

        known = Overview(ledger).accounts(one.name for one in settings.accounts)
        the_account(account, [one.account for one in known])
        yield ledger
