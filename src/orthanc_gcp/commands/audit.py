"""``orthanc-gcp audit``: the ledger against the stores as they are now."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.arguments import (
    config_argument,
    fail,
    json_option,
    needs,
    settings_of,
)
from orthanc_gcp.commands.formatting import count
from orthanc_gcp.commands.ledger_access import open_ledger, refuse_unknown_account
from orthanc_gcp.errors import StoreError

if TYPE_CHECKING:
    from orthanc_gcp.auth.token_source import TokenSource
    from orthanc_gcp.configuration import Account, Settings
    from orthanc_gcp.custody.verification.audit import Audit, AuditedStore, StudyAudit
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["audit"]

_DATE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command()
@config_argument
@click.option("--study", metavar="UID", help="Only this Study Instance UID.")
@click.option(
    "--since",
    type=_DATE,
    metavar="DATE",
    help="Only studies with instances received from then on, in UTC: 2026-01-31 or "
    "2026-01-31T18:00:00.",
)
@click.option(
    "--until",
    type=_DATE,
    metavar="DATE",
    help="Only studies with instances received before then.",
)
@click.option("--account", metavar="NAME", help="Only at this account.")
@click.option(
    "--bytes",
    "contents",
    is_flag=True,
    help="Read all instances and compare their SHA-256, too.",
)
@click.option("--send-again", is_flag=True, help="Have the worker send what is missing.")
@json_option
@needs("worker")
def audit(
    config: Path,
    study: str | None,
    since: datetime | None,
    until: datetime | None,
    account: str | None,
    contents: bool,
    send_again: bool,
    as_json: bool,
) -> None:
    """Audit the stores: compare what the ledger says they have with what they have now.

    The exit code is 0 when there is no difference, 1 when there is one, and 2 when a store could
    not be asked.
    """
    settings = settings_of([config])
    accounts = [one for one in settings.accounts if account in (None, one.name)]
    refuse_unknown_account(account, [one.name for one in settings.accounts])
    with open_ledger(settings) as ledger:
        from orthanc_gcp.ledger.selection import Selection

        selection = Selection(
            account, study_instance_uid=study, since=_seconds(since), until=_seconds(until)
        )
        report = _Report(as_json=as_json)
        with _running(settings, accounts, ledger, contents=contents) as running:
            for uid, name in running.studies(selection):
                if name not in [one.name for one in accounts]:
                    report.errors[name] = "the configuration has no such account"
                if name in report.errors:
                    continue
                try:
                    found = running.compare(name, uid)
                except StoreError as error:
                    report.errors[name] = str(error)
                else:
                    report.add(
                        found, ledger.confirmations.requeue_lost(found.missing) if send_again else 0
                    )
    if study and not report.studies and not report.errors:
        fail(f"the ledger knows of no study {study}")
    report.end()
    raise click.exceptions.Exit(2 if report.errors else 1 if report.differing else 0)


class _Report:
    """Prints each difference when it is found, and the sum of it at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.errors: dict[str, str] = {}
        self.studies = self.differing = self.instances = self.bytes = self.again = 0

    def add(self, found: StudyAudit, again: int) -> None:
        """A study was compared: count it, and print its differences.

        Parameters
        ----------
        again
            How many of its instances were queued again.
        """
        self.studies += 1
        self.instances += found.compared
        self.bytes += found.bytes
        self.again += again
        if found.differs:
            if self._as_json:
                click.echo("," if self.differing else '{"Studies": [')
                click.echo(json.dumps(found.as_json(), indent=2), nl=False)
            else:
                click.echo("\n".join(_lines(found)))
            self.differing += 1

    def end(self) -> None:
        """All studies were compared: print the sum."""
        document = {
            "Compared": {
                "Studies": self.studies,
                "Instances": self.instances,
                "Bytes": self.bytes,
            },
            "Differing": self.differing,
            "SentAgain": self.again,
            "Errors": self.errors,
        }
        if self._as_json:
            head = "\n], " if self.differing else '{"Studies": [], '
            click.echo(head + json.dumps(document, indent=2)[1:].lstrip())
            return
        for account, error in self.errors.items():
            click.echo(f"account {account} was not compared to the end: {error}", err=True)
        if self.again:
            click.echo(f"queued again: {count(self.again, 'instance')}")
        compared = (count(self.studies, "study"), count(self.instances, "instance"))
        difference = f"differences in {count(self.differing, 'study')}"
        click.echo(
            f"compared {', '.join(compared)}, {self.bytes:,} bytes: "
            f"{difference if self.differing else 'no difference'}"
        )


def _lines(found: StudyAudit) -> Iterator[str]:
    yield f"account {found.account}, study {found.study_instance_uid}:"
    for row in found.missing:
        yield f"  missing    {row.sop_instance_uid}"
    for one in found.different:
        yield (
            f"  different  {one.transfer.sop_instance_uid}  sent SHA-256 {one.transfer.sha256}, "
            f"the store has {one.store_sha256}"
        )
    for uid in found.extra:
        yield f"  extra      {uid}  the ledger does not know it"


@contextmanager
def _running(
    settings: Settings, accounts: list[Account], ledger: Ledger, *, contents: bool
) -> Iterator[Audit]:
    """An audit, with access tokens of its own."""
    from orthanc_gcp.auth.token_source import TokenSource
    from orthanc_gcp.custody.verification.audit import Audit

    tokens = TokenSource(replace(settings, accounts=tuple(accounts)), SystemClock())
    stores = {one.name: _audited_store(settings, one, tokens, ledger) for one in accounts}
    tokens.start()
    try:
        yield Audit(ledger, stores, tokens, time.sleep, contents=contents)
    finally:
        tokens.stop()


def _audited_store(
    settings: Settings, account: Account, tokens: TokenSource, ledger: Ledger
) -> AuditedStore:
    from orthanc_gcp.custody.destinations.rate_limit import request_limit
    from orthanc_gcp.custody.verification.audit import READERS, AuditedStore
    from orthanc_gcp.dicomweb import of_account

    store = of_account(settings, account, tokens.authorization)
    limit = request_limit(account, ledger, _sleep)
    wait_for_request = _unlimited if limit is None else limit.acquire
    return AuditedStore(store, wait_for_request, min(READERS, account.max_connections))


def _sleep(seconds: float) -> bool:
    """Wait as the worker does, which says whether it was stopped meanwhile."""
    time.sleep(seconds)
    return False


def _unlimited() -> None:
    """There is no limit on requests."""


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()
