"""What was queued is said, and followed where that is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import waits_for
from orthanc_gcp.commands.live.following import UNCONFIRMED, exit_code, follow, words_of_end
from orthanc_gcp.commands.printing import say

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["DELETED", "say_queued", "wait_option"]

NOT_RETRIED = (
    "for a store that the account is not by now (orthanc-gcp destinations), or with a UID that no "
    "request can name"
)
DELETED = "which Orthanc does not have any more"
"""Why something is left."""
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def wait_option(command: Decorated) -> Decorated:
    """The option of a command that queues something."""
    return click.option("--wait", is_flag=True, help="Return when all of it has ended.")(command)


def say_queued(
    ledger: Ledger,
    settings: Settings,
    words: str,
    rows: Sequence[int],
    *,
    queued: int | None = None,
    left: int | None = None,
    why_left: str = NOT_RETRIED,
    wait: bool,
    as_json: bool,
) -> None:
    """Say how many are queued, and with ``--wait`` what becomes of them; ends the command.

    Parameters
    ----------
    words
        What was done: ``queued again``.
    rows
        Of the ledger; these are followed.
    queued
        How many of these were not queued before; None for all.
    left
        How many were chosen and cannot be queued, for the reason ``why_left``; None where there are
        none of these.
    """
    from orthanc_gcp.ledger.workers import any_alive

    new = len(rows) if queued is None else queued
    runs = any_alive(ledger.engine)
    later = "" if runs or not new else ", they are sent as soon as a worker runs"
    if not as_json:
        say(f"{words}: {count(new, 'instance')}{later}")
        if left:
            say(f"left: {count(left, 'instance')}, {why_left}")
    document: dict[str, Any] = {"Queued": new, "Worker": runs}
    document |= {} if left is None else {"Left": left}
    code = 0
    if wait:
        followed = follow(ledger, rows, waits_for(ledger, settings), quiet=as_json)
        document |= followed.as_json()
        code = UNCONFIRMED if left else exit_code(followed)
        if not as_json:
            say("\n".join(words_of_end(followed)))
    if as_json:
        say(json.dumps(document, indent=2))
    raise click.exceptions.Exit(code)
