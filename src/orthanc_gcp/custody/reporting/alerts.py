"""Reports when something needs a person, and when it does not any more: once each.

What was reported stands in the ledger, and so does who is about to report it: of several workers
one does, and another goes on when that one dies.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.errors import GcpError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.outages import Outage

__all__ = ["Alert", "Alerts"]

_BACKOFF = Backoff(5.0, 300.0, jitter=0)
LEASE = 60.0
"""Seconds for which one of several workers may be reporting before another tries."""
CALM = 0.5
"""A backlog is over below this part of the age that raised it, so that it does not flicker."""


class Alert(StrEnum):
    """What needs a person."""

    QUARANTINE = "Quarantine"  # the account has instances in quarantine
    BACKLOG = "Backlog"  # its oldest instance has waited too long to be sent


@dataclass(frozen=True)
class _Report:
    """An alert that was raised, or is over, at a moment in seconds since 1970."""

    alert: Alert
    raised: bool
    account: AccountOverview
    moment: float

    @property
    def document(self) -> bytes:
        """The JSON that is sent: counts and times, nothing of a patient or an instance."""
        figures = self.account.as_json()
        document = {
            "Account": self.account.account,
            "Alarm": self.alert.value,
            "Raised": self.raised,
            "Time": utc(self.moment),
            "QuarantinedInstances": self.account.counts.quarantined.instances,
            "WaitingInstances": self.account.counts.waiting.instances,
            "OldestUnsentSeconds": figures["OldestUnsentSeconds"],
        }
        return json.dumps(document).encode()


class Alerts:
    """Quarantines and old backlogs of all accounts; what was reported is in the ledger.

    Parameters
    ----------
    backlog_age
        Seconds that the oldest instance may wait to be sent.
    post
        Sends a JSON document under an id; raises GcpError when it was not taken. The id stays the
        same until it was taken, whoever sends it, so that a receiver can drop doubles.
    outage
        Takes what keeps it from being taken.
    """

    def __init__(
        self,
        ledger: Ledger,
        backlog_age: float,
        post: Callable[[str, bytes], None],
        outage: Outage,
    ) -> None:
        self._ledger, self._backlog_age, self._post = ledger, backlog_age, post
        self._outage = outage
        self._failures = 0
        self._resume = float("-inf")

    def report_changes(self, accounts: Iterable[AccountOverview]) -> None:
        """Report what has changed since it was reported last.

        What is not taken is reported later.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        for account in accounts:
            if self._ledger.now() < self._resume:
                return
            reported = self._ledger.key_values.get(_name(account.account), dict) or {}
            for alert, raised in self._state(account, reported).items():
                if raised != bool(reported.get(alert)):
                    self._report(_Report(alert, raised, account, self._ledger.now()))

    def _state(self, account: AccountOverview, reported: dict[str, Any]) -> dict[Alert, bool]:
        age = account.oldest_unsent_seconds or 0.0
        limit = self._backlog_age * (CALM if reported.get(Alert.BACKLOG) else 1)
        return {
            Alert.QUARANTINE: account.counts.quarantined.instances > 0,
            Alert.BACKLOG: age > limit,
        }

    def _report(self, report: _Report) -> None:
        name = _name(report.account.account)
        identifier = self._claim(name, report)
        if identifier is None:
            return
        try:
            self._post(identifier, report.document)
        except GcpError as error:
            self._failures += 1
            pause = _BACKOFF.delay(self._failures)
            self._resume = self._ledger.now() + pause
            self._outage.failed(str(error), pause, kind=error.kind)
            self._ledger.key_values.change(
                name, dict, lambda reported: {**(reported or {}), "Until": 0}
            )
            return
        self._failures = 0
        self._outage.ended()
        done = {report.alert.value: report.raised, "Until": 0, _id_of(report.alert): None}
        self._ledger.key_values.change(name, dict, lambda reported: {**(reported or {}), **done})

    def _claim(self, name: str, report: _Report) -> str | None:
        """The id to report it under, if it is for this worker to report."""
        now, identifier = self._ledger.now(), None

        def claimed(reported: Any) -> Any:
            nonlocal identifier
            reported = reported or {}
            busy = now < reported.get("Until", 0) <= now + LEASE
            if busy or bool(reported.get(report.alert)) == report.raised:
                return reported
            identifier = reported.get(_id_of(report.alert)) or f"msg_{secrets.token_hex(16)}"
            return {**reported, "Until": now + LEASE, _id_of(report.alert): identifier}

        self._ledger.key_values.change(name, dict, claimed)
        return identifier


def _id_of(alert: Alert) -> str:
    """Under which key the id of a report stands while it is not taken."""
    return f"{alert}Id"


def _name(account: str) -> str:
    """Under which name the ledger has what was reported of an account."""
    return f"alerts:{account}"
