"""``orthanc-gcp pause`` and ``resume``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import config_argument, json_option, needs, settings_of
from orthanc_gcp.commands.ledger_access import known_account, open_ledger
from orthanc_gcp.commands.printing import say

if TYPE_CHECKING:
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["pause", "resume"]


@click.command()
@config_argument
@click.argument("account", help="The account.")
@json_option
@needs("worker")
def pause(config: Path, account: str, as_json: bool) -> None:
    """Send no more to an account until "resume"; requests that run are finished."""
    with _ledger(config, account) as ledger:
        from orthanc_gcp.custody.reporting import operations

        operations.pause(ledger, account)
    _say(account, "is paused", paused=True, as_json=as_json)


@click.command()
@config_argument
@click.argument("account", help="The account.")
@json_option
@needs("worker")
def resume(config: Path, account: str, as_json: bool) -> None:
    """Send to an account again after "pause"."""
    with _ledger(config, account) as ledger:
        from orthanc_gcp.custody.reporting import operations

        operations.resume(ledger, account)
    _say(account, "is sent to again", paused=False, as_json=as_json)


def _say(account: str, words: str, *, paused: bool, as_json: bool) -> None:
    document = json.dumps({"Account": account, "Paused": paused}, indent=2)
    say(document if as_json else f"account {account} {words}")


@contextmanager
def _ledger(config: Path, account: str) -> Iterator[Ledger]:
    """The ledger, when it or the configuration knows the account."""
    settings = settings_of([config])
    with open_ledger(settings) as ledger:
        known_account(ledger, settings, account)
        yield ledger
