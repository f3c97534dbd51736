"""``--wait``: what was queued is followed until it is confirmed, or has ended otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import BROKEN_OFF
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.live.progress import ProgressLine, done_by

if TYPE_CHECKING:
    from orthanc_gcp.custody.reporting.followed import Followed
    from orthanc_gcp.custody.reporting.rates import ConfirmationRate
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["UNCONFIRMED", "exit_code", "follow", "words_of_end"]

UNCONFIRMED = 1
EVERY, SHARE = 0.5, 5
"""It is read again after so many seconds, or so many times as long as reading takes."""
STILL_AFTER = 10.0
"""Seconds without a change after which it is said why."""


def follow(
    ledger: Ledger, rows: Iterable[int], why: Callable[[int], str | None], *, quiet: bool
) -> Followed:
    """What has become of rows of the ledger, once all of them have ended, or Ctrl-C came.

    Ends the command on SIGINT or SIGTERM, and says how far it came: the worker goes on all the
    same.

    Parameters
    ----------
    why
        Says of a row why it is where it is.
    quiet
        Whether nothing is said where there is no terminal.
    """
    from orthanc_gcp.custody.audit.interruption import Interruption
    from orthanc_gcp.custody.reporting.followed import Followed

    followed, progress = Followed(ledger, rows), ProgressLine(quiet=quiet)
    try:
        with Interruption() as interruption:
            _until_over(followed, progress, why, interruption.wait)
    except KeyboardInterrupt:
        progress.line(
            f"broken off: {_words(followed)}; what is queued goes on being sent, and "
            "orthanc-gcp status says how far it is"
        )
        raise click.exceptions.Exit(BROKEN_OFF) from None
    progress.clear()
    return followed


def exit_code(followed: Followed) -> int:
    """0 where all is confirmed."""
    return 0 if followed.confirmed == followed.total else UNCONFIRMED


def words_of_end(followed: Followed) -> Iterator[str]:
    """What became of them, for people."""
    yield _words(followed)
    for one in followed.unconfirmed:
        said = ": ".join(words for words in (one.reason, one.detail) if words)
        yield f"  {one.state} {one.sop_instance_uid} of study {one.study_instance_uid}  {said}"
    others = followed.total - followed.confirmed - len(followed.unconfirmed)
    if others > 0 and followed.is_over:
        yield f"  and {others:,} more"


def _until_over(
    followed: Followed,
    progress: ProgressLine,
    why: Callable[[int], str | None],
    wait: Callable[[float], object],
) -> None:
    from orthanc_gcp.custody.reporting.counts import Amount
    from orthanc_gcp.custody.reporting.rates import ConfirmationRate

    rate, changed, before = ConfirmationRate(), time.monotonic(), -1
    while True:
        began = time.monotonic()
        followed.read()
        if followed.is_over:
            return
        ended = sum(followed.ended.values())
        if ended != before:
            changed, before = began, ended
        rate.mark(began, Amount(followed.confirmed, followed.confirmed_bytes))
        reason = why if began - changed >= STILL_AFTER else None
        progress.show(partial(_line, followed, rate, reason))
        wait(max(EVERY, SHARE * (time.monotonic() - began)))


def _line(
    followed: Followed, rate: ConfirmationRate, why: Callable[[int], str | None] | None
) -> str:
    from rich.filesize import decimal

    said = [_words(followed)]
    row = followed.first_open
    if why is not None and row is not None:
        said.append(f"waits: {why(row) or 'its turn'}")
    elif rate.instances > 0:
        said.append(f"{rate.instances:,.1f} instances/s, {decimal(int(rate.bytes))}/s")
        left = followed.total - sum(followed.ended.values())
        said[-1] += done_by(rate.instances, left + rate.instances, 1.0)
    return ", ".join(said)


def _words(followed: Followed) -> str:
    said = [f"{followed.confirmed:,} of {count(followed.total, 'instance')} confirmed"]
    said += [
        f"{number:,} {state}"
        for state, number in sorted(followed.ended.items())
        if state != "confirmed"
    ]
    return ", ".join(said)
