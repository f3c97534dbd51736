"""Reports when something needs a person, and when it does not any more: once each.

Of several problems each is reported, with those that stand already.

What was reported stands in the ledger, and so does who is about to report it: of several workers
one does, and another goes on when that one dies. Workers do not see the same at the same moment:
their figures are of another age, and some of it only one of them knows, such as a subscription that
cannot be pulled. So each writes down what it sees, and an alert is over when none sees it any more.

An answer that does not come leaves open whether a report was taken. It is sent again under its id;
and where the opposite is true by then, that is reported, even if nothing else would be.
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

__all__ = ["Alert", "Alerts", "Report"]

_BACKOFF = Backoff(5.0, 300.0, jitter=0)
LEASE = 60.0
"""Seconds for which one of several workers may be reporting before another tries."""
SAID_EVERY, LAPSES_AFTER = 60.0, 150.0
"""Seconds after which a worker says again that it looks, and for which what it sees counts without
that: one that is started again has this long to see what it saw before."""
UNSEEN = 3600.0
"""Seconds for which what a store has acknowledged may at least not be found there, as by the alert
``OrthancGcpNotSeen`` for Prometheus."""
CALM = 0.5
"""A backlog is over below this part of the age that raised it, so that it does not flicker."""


class Alert(StrEnum):
    """What needs a person."""

    QUARANTINE = "Quarantine"  # the account has instances in quarantine
    BACKLOG = "Backlog"  # its oldest instance has waited too long to be sent, or to be confirmed
    PROBLEM = "Problem"  # instances stay where they are until a person does something
    LOSS = "Loss"  # Orthanc has recycled what was not sent, and nobody has acknowledged it
    PROTECTION = "Protection"  # Orthanc may recycle what is not sent: no more is protected


@dataclass(frozen=True)
class Report:
    """An alert that was raised, or is over, at a moment in seconds since 1970."""

    alert: Alert
    raised: bool
    account: AccountOverview
    moment: float

    @property
    def problems(self) -> frozenset[str]:
        """What tells the problems that it is about from others; nothing of another alert."""
        is_about_them = self.raised and self.alert is Alert.PROBLEM
        return _names(self.account) if is_about_them else frozenset()

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
            "OldestAcknowledgedSeconds": figures["OldestAcknowledgedSeconds"],
            "Problems": figures["Problems"],
        }
        return json.dumps(document).encode()


@dataclass(frozen=True)
class _Pending:
    """A report that may have been taken, or not: its id, and what it says."""

    identifier: str
    raised: bool
    problems: frozenset[str] = frozenset()

    def says(self, report: Report) -> bool:
        """Whether it is the same as another: a receiver drops what has an id that it has seen."""
        return (self.raised, self.problems) == (report.raised, report.problems)


@dataclass(frozen=True)
class _Reported:
    """What was reported of an account, as it stands in the ledger.

    Attributes
    ----------
    raised
        The alerts that are not over.
    leased_until
        For so long a worker may be reporting; 0 where none is.
    pending
        The reports that were not taken for certain, by their alerts.
    seen
        The workers that see what an alert is about, by the alert.
    told
        The problems that were reported of those that there are; None where that is not known.
    """

    raised: frozenset[str] = frozenset()
    leased_until: float = 0.0
    pending: Mapping[str, _Pending] = field(default_factory=dict)
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)
    told: frozenset[str] | None = frozenset()

    @classmethod
    def of_value(cls, value: object) -> _Reported:
        """What the ledger has, or nothing; release 0.1.0 wrote each alert down by its name."""
        try:
            return cls._read(value if isinstance(value, dict) else {})
        except (AttributeError, TypeError, ValueError):  # it keeps no other account back
            return cls()

    @classmethod
    def _read(cls, given: Mapping[str, Any]) -> _Reported:
        formerly = [alert for alert in Alert if given.get(alert) is True]
        raised = frozenset(given.get("raised", formerly))
        changing, about = given.get("changing", {}), given.get("about", {})
        told = given.get("told", None if Alert.PROBLEM in raised else ())
        # Of before it was written down who sees it.
        seen = given.get("seen", {alert: [""] for alert in raised})
        return cls(
            raised,
            float(given.get("leased_until", 0)),
            {
                alert: _Pending(
                    identifier,
                    changing.get(alert, alert not in raised),
                    frozenset(about.get(alert, ())),
                )
                for alert, identifier in given.get("ids", {}).items()
            },
            {alert: frozenset(workers) for alert, workers in seen.items()},
            None if told is None else frozenset(told),
        )

    def as_value(self) -> dict[str, Any]:
        """What the ledger is to have."""
        return {
            "raised": sorted(self.raised),
            "leased_until": self.leased_until,
            "ids": {alert: one.identifier for alert, one in self.pending.items()},
            "changing": {alert: one.raised for alert, one in self.pending.items()},
            "about": {alert: sorted(one.problems) for alert, one in self.pending.items()},
            "told": None if self.told is None else sorted(self.told),
            "seen": {alert: sorted(workers) for alert, workers in self.seen.items()},
        }

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing that could be over."""
        return not (self.raised or self.pending or self.seen)

    def is_leased(self, now: float) -> bool:
        """Whether another worker may be reporting; a clock that was set back does not count."""
        return now < self.leased_until <= now + LEASE

    def is_due(self, report: Report) -> bool:
        """Whether somebody is to be told of it: it is new, or may not have been taken before."""
        is_news = report.raised != (report.alert in self.raised)
        is_more = self.told is not None and not report.problems <= self.told
        return report.alert in self.pending or is_news or is_more

    def with_seen(self, alert: Alert, workers: frozenset[str]) -> _Reported:
        """The same after it has changed who sees what an alert is about."""
        others = {name: own for name, own in self.seen.items() if name != alert}
        return replace(self, seen={**others, alert.value: workers} if workers else others)

    def with_told(self, problems: frozenset[str], *, are_all: bool) -> _Reported:
        """The same with what is known of the problems that there are.

        Parameters
        ----------
        are_all
            Whether there are no others.
        """
        if self.told is None:
            return replace(self, told=problems or None)
        return replace(self, told=self.told & problems if are_all else self.told)

    def begun(self, alert: Alert, pending: _Pending, now: float) -> _Reported:
        """The same while a worker is reporting."""
        return replace(
            self,
            leased_until=now + LEASE,
            pending={**self.pending, alert.value: pending},
        )

    def taken(self, report: Report) -> _Reported:
        """The same after a report was taken."""
        others = self.raised - {report.alert}
        told = self.told
        if report.alert is Alert.PROBLEM:
            told = (told or frozenset()) | report.problems if report.raised else frozenset()
        return replace(
            self,
            raised=others | {report.alert} if report.raised else others,
            leased_until=0.0,
            pending={alert: one for alert, one in self.pending.items() if alert != report.alert},
            told=told,
        )


class Alerts:
    """Quarantines and old backlogs of all accounts; what was reported is in the ledger.

    Parameters
    ----------
    backlog_age
        Seconds that the oldest instance may wait to be sent, and, if it is more than an hour, to be
        found in the store.
    post
        Sends a JSON document under an id; raises GcpError when it was not taken. The id stays the
        same until it was taken, whoever sends it, so that a receiver can drop doubles.
    outage
        Takes what keeps it from being taken.
    stored_as
        Under which name the ledger has what was reported: each way has its own.
    worker
        The name of this worker among others on the ledger; the same after a restart.
    """

    def __init__(
        self,
        ledger: Ledger,
        backlog_age: float,
        post: Callable[[str, bytes], None],
        outage: Outage,
        stored_as: str = "alerts",
        worker: str = "",
    ) -> None:
        self._prefix, self._looking_as = f"{stored_as}:", f"looking:{stored_as}"
        self._ledger, self._backlog_age, self._post = ledger, backlog_age, post
        self._outage, self._worker = outage, worker
        self._failures = 0
        self._resume = float("-inf")
        self._first: str | None = None
        self._began: float | None = None
        self._known: set[str] = set()
        self._others: set[str] = set()

    def report_changes(self, accounts: Iterable[AccountOverview]) -> None:
        """Report what has changed since it was reported last.

        What is not taken is reported later; an account whose report fails is in the way of no
        other.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        now = self._ledger.now()
        self._began = now if self._began is None else min(self._began, now)
        self._others = self._looking(now) - {self._worker}
        stored = {
            name.removeprefix(self._prefix): _Reported.of_value(value)
            for name, value in self._ledger.key_values.starting_with(self._prefix).items()
        }
        of_now = {one.account: one for one in accounts}
        of_now |= {
            name: AccountOverview(name)
            for name, reported in stored.items()
            if name not in of_now and not reported.is_quiet
        }
        for name in self._in_turn(of_now):
            if _BACKOFF.lasts(self._resume, self._ledger.now()):
                self._first = name
                return
            self._look_at(of_now[name], stored.get(name, _Reported()))

    def _in_turn(self, accounts: Iterable[str]) -> list[str]:
        """The accounts, from the one on that was not asked for when a report failed."""
        names = list(accounts)
        first = names.index(self._first) if self._first in names else 0
        return names[first:] + names[:first]

    def _look_at(self, account: AccountOverview, reported: _Reported) -> None:
        own = self._state(account, reported)
        problem = {Alert.PROBLEM: self._has_problem(account, reported)}
        reported = self._say(account, {**own, **problem}, reported)
        for alert, sees in own.items():
            report = Report(alert, bool(reported.seen.get(alert)), account, self._ledger.now())
            # Only who sees it has the figures to tell of it.
            if reported.is_due(report) and (sees or not report.raised):
                self._report(report)

    def _say(
        self, account: AccountOverview, own: Mapping[Alert, bool], reported: _Reported
    ) -> _Reported:
        """Write down what this worker sees, where that has changed; what the ledger has by then."""
        now = self._ledger.now()

        def said(before: _Reported) -> _Reported:
            for alert, sees in own.items():
                before = before.with_seen(alert, self._seers(before, alert, now, sees=sees))
            sees_all = before.seen.get(Alert.PROBLEM, frozenset()) <= {self._worker}
            return before.with_told(_names(account), are_all=sees_all and not self._is_new(now))

        if said(reported) == reported:
            return reported
        value = self._change(account.account, said)
        return _Reported.of_value(value)

    def _seers(
        self, reported: _Reported, alert: Alert, now: float, *, sees: bool
    ) -> frozenset[str]:
        """The workers that see what an alert is about."""
        others = reported.seen.get(alert, frozenset()) - {self._worker}
        # One that has ended may begin again, as long as this one has not looked for longer.
        found = others if self._is_new(now) else others & self._others
        return found | {self._worker} if sees else found

    def _looking(self, now: float) -> set[str]:
        """The workers that have looked of late; this one says so now and then."""
        said = self._ledger.key_values.get(self._looking_as, dict)
        last = (said or {}).get(self._worker, float("-inf"))
        if not 0 <= now - last < SAID_EVERY:
            said = self._ledger.key_values.change(
                self._looking_as,
                dict,
                lambda before: {**self._fresh(before or {}, now), self._worker: now},
            )
        return set(self._fresh(said or {}, now))

    def _fresh(self, said: Mapping[str, float], now: float) -> dict[str, float]:
        """Who has said so of late; where a clock was set back, all have until they say so again."""
        return {worker: when for worker, when in said.items() if now - when < LAPSES_AFTER}

    def _is_new(self, now: float) -> bool:
        """Whether this worker may not know yet what there is, and who else looks."""
        return self._began is not None and now - self._began < LAPSES_AFTER

    def _change(self, account: str, change: Callable[[_Reported], _Reported]) -> object:
        return self._ledger.key_values.change(
            self._name(account), dict, lambda value: change(_Reported.of_value(value)).as_value()
        )

    def _state(self, account: AccountOverview, reported: _Reported) -> dict[Alert, bool]:
        calm = CALM if Alert.BACKLOG in reported.raised else 1
        unsent, unseen = account.oldest_unsent_seconds, account.oldest_acknowledged_seconds
        waits = (unsent or 0.0) > self._backlog_age * calm
        waits |= (unseen or 0.0) > max(self._backlog_age, UNSEEN) * calm
        return {
            Alert.QUARANTINE: account.quarantined_instances > 0,
            Alert.BACKLOG: waits,
            Alert.PROBLEM: bool(account.problems),
            Alert.LOSS: account.lost_instances > 0 or account.lost_changes > 0,
            Alert.PROTECTION: account.unprotected_patients > 0,
        }

    def _has_problem(self, account: AccountOverview, reported: _Reported) -> bool:
        """Whether it has one, or had before this worker was started, which may not know it yet."""
        if account.problems:
            self._known.add(account.account)
            return True
        had = self._worker in reported.seen.get(Alert.PROBLEM, frozenset())
        return had and self._is_new(self._ledger.now()) and account.account not in self._known

    def _report(self, report: Report) -> None:
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

    def _claim(self, account: str, report: Report) -> str | None:
        """The id to report it under, if it is for this worker to report."""
        now, identifier = self._ledger.now(), None

        def claimed(reported: _Reported) -> _Reported:
            nonlocal identifier
            if reported.is_leased(now) or not reported.is_due(report):
                return reported
            pending = reported.pending.get(report.alert)
            if pending is None or not pending.says(report):
                unique = f"msg_{secrets.token_hex(16)}"
                pending = _Pending(unique, report.raised, report.problems)
            identifier = pending.identifier
            return reported.begun(report.alert, pending, now)

        self._change(account, claimed)
        return identifier

    def _name(self, account: str) -> str:
        """Under which name the ledger has what was reported of an account."""
        return f"{self._prefix}{account}"


def _names(account: AccountOverview) -> frozenset[str]:
    """What tells the problems of an account from others, however many instances each is about."""
    return frozenset(
        f"{one.kind} {one.index} {one.destination or ''} {one.subject}".strip()
        for one in account.problems
    )
