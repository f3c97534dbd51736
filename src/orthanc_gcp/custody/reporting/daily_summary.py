"""What was received and confirmed in a day, and what is not confirmed and why: once a day.

When the last one was sent stands in the ledger, and so does who is about to send one: of several
workers one does, and none again after a restart.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.custody.reporting.counts import Amount
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.errors import GcpError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import IN_NEED, Priority, State, transfers
from orthanc_gcp.outages import Outage

__all__ = ["AccountDay", "DailySummary", "Period", "Unconfirmed", "days_of"]

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


@dataclass(frozen=True)
class Period:
    """What a summary is about.

    Attributes
    ----------
    since, until
        Seconds since 1970, UTC.
    after_row, last_row
        The newest row of the ledger that the summary before, and that this one is about: what was
        received before the end of one and written down after it is in the next. None for all.
    """

    since: float
    until: float
    after_row: int | None = None
    last_row: int | None = None


def days_of(ledger: Ledger, accounts: Iterable[str], period: Period) -> list[AccountDay]:
    """What has become of the instances of all accounts; it reads the whole ledger.

    Parameters
    ----------
    accounts
        Those that are in it even if the ledger has nothing for them.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    found = {name: AccountDay(name) for name in accounts}
    unconfirmed = defaultdict[str, list[Unconfirmed]](list)
    with ledger.reading() as connection:
        for row in connection.execute(_of_day(period)):
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


def _of_day(period: Period) -> sql.Select[Any]:
    of, since, until = transfers.c, period.since, period.until
    received = (of.received_at > since) & (of.received_at <= until)
    if period.after_row is not None:
        # A backfill and what is sent on demand are of what was received long before.
        is_late = (of.id > period.after_row) & (of.priority == Priority.LIVE)
        received |= is_late & (of.received_at <= since)
    if period.last_row is not None:
        received &= of.id <= period.last_row
    confirmed = (of.confirmed_at > since) & (of.confirmed_at <= until)
    confirmed &= of.state == State.CONFIRMED
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
class _Pending:
    """A summary that may have been taken, or not.

    Attributes
    ----------
    day
        The local date on which it was begun.
    until
        When what it is about ends, in seconds since 1970.
    row
        The newest row of the ledger that it is about.
    """

    identifier: str
    day: str
    until: float
    row: int


@dataclass(frozen=True)
class _Sent:
    """What was sent last, as it stands in the ledger.

    Attributes
    ----------
    day
        The local date of the last one that was taken; empty before the first.
    until
        What it was about ended then, in seconds since 1970.
    row
        The newest row of the ledger that it was about; None where that is not known.
    leased_until
        For so long a worker may be sending one; 0 where none is.
    pending
        The one that was not taken for certain.
    """

    day: str = ""
    until: float = 0.0
    row: int | None = None
    leased_until: float = 0.0
    pending: _Pending | None = None

    @classmethod
    def of_value(cls, value: Mapping[str, Any] | None) -> _Sent:
        """What the ledger has, or nothing."""
        given = value or {}
        try:
            pending, row = given.get("pending"), given.get("row")
            return cls(
                str(given.get("day", "")),
                float(given.get("until", 0)),
                None if row is None else int(row),
                float(given.get("leased_until", 0)),
                _Pending(**pending) if pending else None,
            )
        except (TypeError, ValueError):
            return cls()

    def as_value(self) -> dict[str, Any]:
        """What the ledger is to have."""
        return asdict(self)

    def period(self, pending: _Pending) -> Period:
        """What a summary is about that is to be sent."""
        is_known = 0 < self.until <= pending.until
        since = self.until if is_known else pending.until - DAY
        return Period(since, pending.until, self.row if is_known else None, pending.row)


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
        waits = _BACKOFF.lasts(self._resume, now)
        if waits or today == self._done or moment.hour < self._hour:
            return
        sent = self._sent()
        is_first = not sent.day and sent.pending is None
        if sent.day >= today or (is_first and moment.hour > self._hour):
            # Sent, or asked for after its hour; a day to come is one of a clock that was wrong.
            self._change(lambda before: replace(before, day=today, until=before.until or now))
            self._done = today
            return
        claimed = self._claim(today, now)
        if claimed is not None and claimed.pending is not None:
            self._send(claimed.pending, self._document(claimed.period(claimed.pending)))

    def _sent(self) -> _Sent:
        return _Sent.of_value(self._ledger.key_values.get(self._name, dict))

    def _change(self, change: Callable[[_Sent], _Sent]) -> None:
        self._ledger.key_values.change(
            self._name, dict, lambda value: change(_Sent.of_value(value)).as_value()
        )

    def _document(self, period: Period) -> bytes:
        days = days_of(self._ledger, self._accounts, period)
        document = {
            "Summary": "Daily",
            "Since": utc(period.since),
            "Until": utc(period.until),
            "Accounts": [one.as_json() for one in days],
        }
        return json.dumps(document).encode()

    def _claim(self, today: str, now: float) -> _Sent | None:
        """What is to be sent, if it is for this worker to send."""
        claimed = None
        row = self._newest_row()

        def claim(sent: _Sent) -> _Sent:
            nonlocal claimed
            is_leased = now < sent.leased_until <= now + LEASE
            if is_leased or sent.day >= today:
                return sent
            pending = sent.pending
            # One of another day may have been taken: its id would have this one dropped.
            if pending is None or pending.day != today:
                pending = _Pending(f"msg_{secrets.token_hex(16)}", today, now, row)
            claimed = replace(sent, leased_until=now + LEASE, pending=pending)
            return claimed

        self._change(claim)
        return claimed

    def _newest_row(self) -> int:
        with self._ledger.reading() as connection:
            return connection.scalar(sql.select(sql.func.max(transfers.c.id))) or 0

    def _send(self, pending: _Pending, document: bytes) -> None:
        try:
            self._post(pending.identifier, document)
        except GcpError as error:
            self._failures += 1
            pause = _BACKOFF.delay(self._failures)
            self._resume = self._ledger.now() + pause
            self._outage.failed(str(error), pause, kind=error.kind)
            self._change(lambda sent: replace(sent, leased_until=0.0))
            return
        self._failures = 0
        self._outage.ended()
        self._change(lambda _sent: _Sent(pending.day, pending.until, pending.row))
        self._done = pending.day
