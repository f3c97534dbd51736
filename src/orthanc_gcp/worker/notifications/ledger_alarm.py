"""Tells that the ledger cannot be used: nowhere stands that this was told, but here."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.intake.open_transfers import SEEN_WITHIN
from orthanc_gcp.custody.reporting.alerts import Alert, Report
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.custody.reporting.problems import unsent
from orthanc_gcp.errors import GcpError
from orthanc_gcp.outages import Outage

__all__ = ["LedgerAlarm"]

_BACKOFF = Backoff(5.0, 300.0, jitter=0)


class LedgerAlarm:
    """The alarm ``Problem`` of every account while a worker cannot read or write its ledger.

    Of several workers each tells it; one that is started again has forgotten that it did.

    Parameters
    ----------
    post
        Sends a JSON document under an id; raises GcpError when it was not taken.
    outage
        Takes what keeps it from being taken.
    """

    def __init__(self, post: Callable[[str, bytes], None], outage: Outage, clock: Clock) -> None:
        self._post, self._outage, self._clock = post, outage, clock
        self._since: tuple[float, float] | None = None
        self._told: set[str] = set()
        self._failures, self._resume = 0, float("-inf")

    def failed(self, accounts: Iterable[AccountOverview], words: str) -> None:
        """The ledger could not be used just now; told once that has lasted.

        Parameters
        ----------
        accounts
            As far as they are known.
        words
            Why.
        """
        now = self._clock.now()
        since, since_utc = self._since = self._since or (now, self._clock.utc().timestamp())
        if now - since < SEEN_WITHIN:
            return
        problem = unsent(since_utc, f"the ledger cannot be used: {words}")
        # One at a time: the next comes with the next step, which a slow receiver is not to delay.
        for one in accounts:
            if one.account not in self._told:
                self._tell(one.with_problems(problem), raised=True)
                return

    def works(self, accounts: Iterable[AccountOverview]) -> None:
        """It is used again; what else is the matter with an account goes on by itself."""
        self._since = None
        if not self._told:
            return
        for one in accounts:
            if one.account in self._told:
                if not one.problems:
                    self._tell(one, raised=False)
                    return
                self._told.discard(one.account)

    def _tell(self, account: AccountOverview, *, raised: bool) -> None:
        if self._clock.now() < self._resume:
            return
        moment = self._clock.utc().timestamp()
        report = Report(Alert.PROBLEM, raised, account, moment)
        try:
            self._post(f"msg_{secrets.token_hex(16)}", report.document)
        except GcpError as error:
            self._failures += 1
            pause = _BACKOFF.delay(self._failures)
            self._resume = self._clock.now() + pause
            self._outage.failed(str(error), pause, kind=error.kind, by="ledger")
            return
        self._failures = 0
        self._outage.ended(by="ledger")
        if raised:
            self._told.add(account.account)
        else:
            self._told.discard(account.account)
