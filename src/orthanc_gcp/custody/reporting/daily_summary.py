"""What was received and confirmed in a day, and what is not confirmed and why: once a day.

When the last one was sent stands in the ledger, and so does who is about to send one: of several
workers one does, and none again after a restart.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.custody.reporting.counts import Amount
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.errors import GcpError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import IN_NEED, State, transfers
from orthanc_gcp.outages import Outage

__all__ = ["AccountDay", "DailySummary", "Unconfirmed", "days_of"]

_BACKOFF = Backoff(5.0, 300.0, jitter=0)
LEASE = 60.0
"""Seconds for which one of several workers may be sending before another tries."""
DAY = 86400.0
_NOTHING = Amount()
_NOT_CONFIRMED = (*IN_NEED, State.LOST)


@dataclass(frozen=True)
class Unconfirmed:
    """What is in one state for one reason; the oldest was received at a moment (UTC seconds)."""

    state: str
    reason: str | None
    amount: Amount
    oldest_received_at: float

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "State": self.state,
            "Reason": self.reason,
            **self.amount.as_json(),
            "OldestReceived": utc(self.oldest_received_at),
        }


@dataclass(frozen=True)
class AccountDay:
    """What has become of the instances of an account.

    Attributes
    ----------
    received, confirmed
        In the time that it is about.
    unconfirmed
        All that is not by now, whenever it was received.
    """

    account: str
    received: Amount = _NOTHING
    confirmed: Amount = _NOTHING
    unconfirmed: tuple[Unconfirmed, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same for programs: counts and times, nothing of a patient or an instance."""
        return {
            "Account": self.account,
            "Received": self.received.as_json(),
            "Confirmed": self.confirmed.as_json(),
            "NotConfirmed": [one.as_json() for one in self.unconfirmed],
        }


def days_of(
    ledger: Ledger, accounts: Iterable[str], since: float, until: float
) -> list[AccountDay]:
    """What has become of the instances of all accounts; it reads the whole ledger.

    Parameters
    ----------
    accounts
        Those that are in it even if the ledger has nothing for them.
    since, until
        Seconds since 1970, UTC.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    found = {name: AccountDay(name) for name in accounts}
    unconfirmed = defaultdict[str, list[Unconfirmed]](list)
    with ledger.reading() as connection:
        for row in connection.execute(_of_day(since, until)):
            day = found.get(row.account, AccountDay(row.account))
            found[row.account] = replace(
                day,
                received=Amount(int(row.received or 0), int(row.received_bytes or 0)),
                confirmed=Amount(int(row.confirmed or 0), int(row.confirmed_bytes or 0)),
            )
        for row in connection.execute(_NOW):
            amount = Amount(row.instances, int(row.bytes or 0))
            unconfirmed[row.account].append(Unconfirmed(row.state, row.reason, amount, row.oldest))
    return [
        replace(found.get(name, AccountDay(name)), unconfirmed=tuple(unconfirmed[name]))
        for name in sorted({*found, *unconfirmed})
    ]


def _of_day(since: float, until: float) -> sql.Select[Any]:
    of = transfers.c
    received = sql.between(of.received_at, since, until)
    confirmed = sql.between(of.confirmed_at, since, until) & (of.state == State.CONFIRMED)
    return (
        sql.select(
            of.account,
            sql.func.sum(sql.case((received, 1), else_=0)).label("received"),
            sql.func.sum(sql.case((received, of.size_bytes), else_=0)).label("received_bytes"),
            sql.func.sum(sql.case((confirmed, 1), else_=0)).label("confirmed"),
            sql.func.sum(sql.case((confirmed, of.size_bytes), else_=0)).label("confirmed_bytes"),
        )
        .where(received | confirmed)
        .group_by(of.account)
    )


_NOW = (
    sql.select(
        transfers.c.account,
        transfers.c.state,
        transfers.c.reason,
        sql.func.count().label("instances"),
        sql.func.sum(transfers.c.size_bytes).label("bytes"),
        sql.func.min(transfers.c.received_at).label("oldest"),
    )
    .where(transfers.c.state.in_(_NOT_CONFIRMED))
    .group_by(transfers.c.account, transfers.c.state, transfers.c.reason)
    .order_by(transfers.c.account, transfers.c.state, transfers.c.reason)
)


@dataclass(frozen=True)
class _Sent:
    """What was sent last, as it stands in the ledger.

    Attributes
    ----------
    day
        The local date of the last one that was taken; empty before the first.
    until
        What it was about ended then, in seconds since 1970.
    leased_until
        For so long a worker may be sending one; 0 where none is.
    identifier
        Of the one that was not taken yet.
    """

    day: str = ""
    until: float = 0.0
    leased_until: float = 0.0
    identifier: str = ""

    @classmethod
    def of_value(cls, value: Mapping[str, Any] | None) -> _Sent:
        """What the ledger has, or nothing."""
        given = value or {}
        try:
            return cls(
                str(given.get("day", "")),
                float(given.get("until", 0)),
                float(given.get("leased_until", 0)),
                str(given.get("id", "")),
            )
        except (TypeError, ValueError):
            return cls()

    def as_value(self) -> dict[str, Any]:
        """What the ledger is to have."""
        return {
            "day": self.day,
            "until": self.until,
            "leased_until": self.leased_until,
            "id": self.identifier,
        }


class DailySummary:
    """Sends a summary once a day, at an hour or as soon after it as that can be done.

    Parameters
    ----------
    accounts
        Those that the configuration has.
    hour
        Of the local day, from 0 to 23.
    post
        Sends a JSON document under an id; raises GcpError when it was not taken. The id stays the
        same until it was taken, so that a receiver can drop doubles.
    outage
        Takes what keeps it from being taken.
    channel
        The way on which somebody is told.
    local
        Seconds since 1970 -> the local time.
    """

    def __init__(
        self,
        ledger: Ledger,
        accounts: list[str],
        hour: int,
        post: Callable[[str, bytes], None],
        outage: Outage,
        channel: str,
        local: Callable[[float], datetime] = datetime.fromtimestamp,
    ) -> None:
        self._ledger, self._accounts, self._hour = ledger, accounts, hour
        self._post, self._outage, self._local = post, outage, local
        self._name = f"daily-summary:{channel}"
        self._failures = 0
        self._resume = float("-inf")
        self._done = ""

    def send_if_due(self) -> None:
        """Send that of the last day, if it is time and nobody has.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        now = self._ledger.now()
        moment = self._local(now)
        today = moment.date().isoformat()
        if now < self._resume or today == self._done or moment.hour < self._hour:
            return
        sent = self._sent()
        if sent.day >= today or (not sent.day and moment.hour > self._hour):
            # Sent, or asked for after its hour; a day to come is one of a clock that was wrong.
            self._change(lambda before: replace(before, day=today, until=before.until or now))
            self._done = today
            return
        since = sent.until if 0 < sent.until <= now else now - DAY
        document = self._document(since, now)
        identifier = self._claim(today, now)
        if identifier is not None:
            self._send(identifier, document, today, now)

    def _sent(self) -> _Sent:
        return _Sent.of_value(self._ledger.key_values.get(self._name, dict))

    def _change(self, change: Callable[[_Sent], _Sent]) -> None:
        self._ledger.key_values.change(
            self._name, dict, lambda value: change(_Sent.of_value(value)).as_value()
        )

    def _document(self, since: float, until: float) -> bytes:
        days = days_of(self._ledger, self._accounts, since, until)
        document = {
            "Summary": "Daily",
            "Since": utc(since),
            "Until": utc(until),
            "Accounts": [one.as_json() for one in days],
        }
        return json.dumps(document).encode()

    def _claim(self, today: str, now: float) -> str | None:
        """The id to send it under, if it is for this worker to send."""
        identifier = None

        def claimed(sent: _Sent) -> _Sent:
            nonlocal identifier
            is_leased = now < sent.leased_until <= now + LEASE
            if is_leased or sent.day >= today:
                return sent
            identifier = sent.identifier or f"msg_{secrets.token_hex(16)}"
            return replace(sent, leased_until=now + LEASE, identifier=identifier)

        self._change(claimed)
        return identifier

    def _send(self, identifier: str, document: bytes, today: str, now: float) -> None:
        try:
            self._post(identifier, document)
        except GcpError as error:
            self._failures += 1
            pause = _BACKOFF.delay(self._failures)
            self._resume = self._ledger.now() + pause
            self._outage.failed(str(error), pause, kind=error.kind)
            self._change(lambda sent: replace(sent, leased_until=0.0))
            return
        self._failures = 0
        self._outage.ended()
        self._change(lambda _sent: _Sent(today, now))
        self._done = today
