"""Reports when something needs a person, and when it does not any more: once each.

What was reported stands in the ledger, and so does who is about to report it: of several workers
one does, and another goes on when that one dies.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    PROBLEM = "Problem"  # instances stay where they are until a person does something
    LOSS = "Loss"  # Orthanc has recycled what was not sent, and nobody has acknowledged it
    PROTECTION = "Protection"  # Orthanc may recycle what is not sent: no more is protected


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
            "QuarantinedInstances": self.account.quarantined_instances,
            "LostInstances": self.account.lost_instances,
            "LostChanges": self.account.lost_changes,
            "UnprotectedPatients": self.account.unprotected_patients,
            "WaitingInstances": self.account.counts.waiting.instances,
            "OldestUnsentSeconds": figures["OldestUnsentSeconds"],
            "Problems": figures["Problems"],
        }
        return json.dumps(document).encode()


@dataclass(frozen=True)
class _Reported:
    """What was reported of an account, as it stands in the ledger.

    Attributes
    ----------
    raised
        The alerts that are not over.
    leased_until
        For so long a worker may be reporting; 0 where none is.
    ids
        Of the reports that were not taken yet, by their alerts.
    """

    raised: frozenset[str] = frozenset()
    leased_until: float = 0.0
    ids: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_value(cls, value: Mapping[str, Any] | None) -> _Reported:
        """What the ledger has, or nothing."""
        given = value or {}
        return cls(
            frozenset(given.get("raised", ())),
            float(given.get("leased_until", 0)),
            dict(given.get("ids", {})),
        )

    def as_value(self) -> dict[str, Any]:
        """What the ledger is to have."""
        return {
            "raised": sorted(self.raised),
            "leased_until": self.leased_until,
            "ids": dict(self.ids),
        }

    def is_leased(self, now: float) -> bool:
        """Whether another worker may be reporting; a clock that was set back does not count."""
        return now < self.leased_until <= now + LEASE

    def taken(self, report: _Report) -> _Reported:
        """The same after a report was taken."""
        others = self.raised - {report.alert}
        return _Reported(
            others | {report.alert} if report.raised else others,
            ids={
                alert: identifier for alert, identifier in self.ids.items() if alert != report.alert
            },
        )


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
    stored_as
        Under which name the ledger has what was reported: each way has its own.
    """

    def __init__(
        self,
        ledger: Ledger,
        backlog_age: float,
        post: Callable[[str, bytes], None],
        outage: Outage,
        stored_as: str = "alerts",
    ) -> None:
        self._prefix = f"{stored_as}:"
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
            reported = self._reported(account.account)
            for alert, raised in self._state(account, reported).items():
                if raised != (alert in reported.raised):
                    self._report(_Report(alert, raised, account, self._ledger.now()))

    def _reported(self, account: str) -> _Reported:
        return _Reported.of_value(self._ledger.key_values.get(self._name(account), dict))

    def _change(self, account: str, change: Callable[[_Reported], _Reported]) -> None:
        self._ledger.key_values.change(
            self._name(account), dict, lambda value: change(_Reported.of_value(value)).as_value()
        )

    def _state(self, account: AccountOverview, reported: _Reported) -> dict[Alert, bool]:
        age = account.oldest_unsent_seconds or 0.0
        limit = self._backlog_age * (CALM if Alert.BACKLOG in reported.raised else 1)
        return {
            Alert.QUARANTINE: account.quarantined_instances > 0,
            Alert.BACKLOG: age > limit,
            Alert.PROBLEM: bool(account.problems),
            Alert.LOSS: account.lost_instances > 0 or account.lost_changes > 0,
            Alert.PROTECTION: account.unprotected_patients > 0,
        }

    def _report(self, report: _Report) -> None:
        account = report.account.account
        identifier = self._claim(account, report)
        if identifier is None:
            return
        try:
            self._post(identifier, report.document)
        except GcpError as error:
            self._failures += 1
            pause = _BACKOFF.delay(self._failures)
            self._resume = self._ledger.now() + pause
            self._outage.failed(str(error), pause, kind=error.kind)
            self._change(account, lambda reported: replace(reported, leased_until=0.0))
            return
        self._failures = 0
        self._outage.ended()
        self._change(account, lambda reported: reported.taken(report))

    def _claim(self, account: str, report: _Report) -> str | None:
        """The id to report it under, if it is for this worker to report."""
        now, identifier = self._ledger.now(), None

        def claimed(reported: _Reported) -> _Reported:
            nonlocal identifier
            if reported.is_leased(now) or (report.alert in reported.raised) == report.raised:
                return reported
            identifier = reported.ids.get(report.alert) or f"msg_{secrets.token_hex(16)}"
            ids = {**reported.ids, report.alert.value: identifier}
            return replace(reported, leased_until=now + LEASE, ids=ids)

        self._change(account, claimed)
        return identifier

    def _name(self, account: str) -> str:
        """Under which name the ledger has what was reported of an account."""
        return f"{self._prefix}{account}"
