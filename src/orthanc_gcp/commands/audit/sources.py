"""The Orthanc and the stores that an audit asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.arguments import orthanc_of
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.custody.audit.interruption import Interruption
from orthanc_gcp.custody.audit.stored import READERS, StoreReader
from orthanc_gcp.custody.destinations.rate_limit import request_limit
from orthanc_gcp.custody.intake.former_ledgers import former_ledgers
from orthanc_gcp.custody.intake.identity import Match, recognize
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.dicomweb import StoreError, of_account
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.orthanc.resources import OrthancSource, seconds_of
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.redaction import printable

__all__ = ["AuditedOrthanc", "opened_stores"]


@dataclass(frozen=True)
class AuditedOrthanc:
    """The Orthanc that is asked, and what the ledger knows of its index.

    Attributes
    ----------
    index
        What the ledger calls it; None where it does not know it.
    since
        When following began.
    had_another_ledger
        Whether it was followed with another before this one, which may have known of what this one
        does not.
    is_earlier
        Whether it is the index as it was at an earlier moment.
    newest_at
        When it has last changed, by its own clock, in seconds since 1970.
    """

    source: OrthancSource
    url: str
    name: str
    index: str | None = None
    since: float | None = None
    had_another_ledger: bool = False
    is_earlier: bool = False
    newest_at: float = 0

    @classmethod
    def of(cls, given: str | None, settings: Settings, ledger: Ledger) -> AuditedOrthanc:
        """That at an address, or else the one that the configuration is of.

        Raises
        ------
        OrthancError
            It cannot be asked.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        rest = orthanc_of(settings, given, "audit")
        try:
            return cls._recognized(rest, OrthancSource(rest, settings.storage_folder), ledger)
        except (AttributeError, LookupError, TypeError):
            raise OrthancError(
                f"{printable(rest.url)} does not answer as an Orthanc does"
            ) from None

    @classmethod
    def _recognized(
        cls, rest: OrthancRest, source: OrthancSource, ledger: Ledger
    ) -> AuditedOrthanc:
        name = source.name()
        newest_at = max((one.date for one in source.newest_changes()), default="")
        found = cls(source, rest.url, name, newest_at=seconds_of(newest_at))
        recognized = recognize(ledger, source, name)
        if recognized is None:
            return found
        match, cursor = recognized
        return replace(
            found,
            index=cursor.source,
            since=cursor.since,
            had_another_ledger=cursor.source in [one.source for one in former_ledgers(ledger)],
            is_earlier=match is Match.RESTORED,
        )

    def index_now(self, ledger: Ledger) -> str | None:
        """What the ledger calls the index that it has now.

        Raises
        ------
        OrthancError
            It cannot be asked.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        with _answering(self.url):
            found = recognize(ledger, self.source, self.source.name())
        return None if found is None else found[1].source

    def begin(self, now: float) -> float:
        """From when on what arrives is not looked for, though its clock may go before."""
        return max(now, self.newest_at + 1)

    def as_json(self) -> dict[str, Any]:
        """The same for a report."""
        since = utc(self.since)
        return {"Url": self.url, "Name": self.name, "Index": self.index, "FollowedSince": since}


@contextmanager
def _answering(url: str) -> Iterator[None]:
    """Something else may be at an address."""
    try:
        yield
    except (AttributeError, LookupError, TypeError):
        raise OrthancError(f"{printable(url)} does not answer as an Orthanc does") from None


@contextmanager
def opened_stores(
    settings: Settings, accounts: list[Account], ledger: Ledger, interruption: Interruption
) -> Iterator[tuple[dict[str, StoreReader], dict[str, str]]]:
    """The stores that can be asked, and why others cannot, by account; with tokens of their own."""
    tokens = TokenSource(replace(settings, accounts=tuple(accounts)), SystemClock())
    stores, problems = {}, dict(settings.rejections)
    for one in accounts:
        try:
            stores[one.name] = _store(settings, one, tokens, ledger, interruption)
        except StoreError as error:
            problems[one.name] = str(error)
    tokens.start()
    try:
        yield stores, problems
    finally:
        tokens.stop()
        for store in stores.values():
            store.client.close()


def _store(
    settings: Settings,
    account: Account,
    tokens: TokenSource,
    ledger: Ledger,
    interruption: Interruption,
) -> StoreReader:
    limit = request_limit(account, ledger, interruption.wait)
    return StoreReader(
        of_account(settings, account, tokens.authorization),
        _unlimited if limit is None else limit.acquire,
        partial(tokens.renew, account.name),
        interruption.wait,
        lambda: interruption.requested,
        min(READERS, account.max_connections),
    )


def _unlimited() -> None:
    """There is no limit on requests."""
