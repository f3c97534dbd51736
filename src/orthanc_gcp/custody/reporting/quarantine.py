"""What is in quarantine, by what has to be done about it; and how a person ends it.

An instance that is dismissed is not to be sent: it counts neither as sent nor as waiting, keeps no
patient protected from Orthanc's recycling, and comes back when it is retried.

A person dismisses what was listed, and nothing else. The list ends at the newest event by which an
instance came into quarantine; its number and a digest of all that is on the list name it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.events import add_for, newest_event
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import State, events, transfers
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.versions import reopen_versions
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = [
    "LONGEST_NAME",
    "LONGEST_WHY",
    "MoreInQuarantineError",
    "QuarantineChangedError",
    "QuarantineGroup",
    "as_typed",
    "counts_by_reason",
    "dismiss",
    "list_name",
    "logged_in",
    "newest_event_now",
    "quarantine",
    "remedy_for",
    "word_fault",
]

LONGEST_NAME, LONGEST_WHY = 150, 1000
"""Characters of who dismisses, and of why."""
_MOST_ADDED = 50
"""Characters that say how a name is known."""
_SEND_AGAIN = "then retry"
_REMEDIES: Mapping[str, str] = {
    TransferReason.CONFLICT: (
        "the store has other bytes under these UIDs: compare both; delete those of the store and "
        'retry, or set "OnConflict": "Replace", or dismiss these'
    ),
    TransferReason.INVALID: (
        "the store cannot read the file: have it sent to Orthanc again by what made it, or dismiss"
    ),
    TransferReason.REFUSED: f"see why the store does not take it, mend that, {_SEND_AGAIN}",
    TransferReason.DAMAGED_FILE: (
        f"restore the file in Orthanc's storage from a backup, {_SEND_AGAIN}"
    ),
    TransferReason.UNREADABLE_FILE: (
        "mount the volume of Orthanc's storage, mend its permissions, or restore the file, "
        f"{_SEND_AGAIN}"
    ),
    TransferReason.UNCOMPARED: (
        f"give the account the permission healthcare.dicomStores.dicomWebRead, {_SEND_AGAIN}"
    ),
    TransferReason.DIFFERENT: (
        "something on the way changes the bytes, such as a proxy: take it out of the way, "
        f"{_SEND_AGAIN}"
    ),
    TransferReason.MISSING: (
        "the store acknowledges it and does not have it: see what deletes there, then retry"
    ),
    TransferReason.LOST: (
        "the store has lost it and Orthanc has deleted it: have it sent to Orthanc again, or "
        "dismiss it"
    ),
    TransferReason.GAVE_UP: "GiveUpAfterSeconds have passed: when the store is well again, retry",
    TransferReason.DAMAGED: f"look at the disk of the ledger and at the log, {_SEND_AGAIN}",
    StoreReason.UID: (
        "a retry does not help: give it new UIDs, such as with Orthanc's /studies/{id}/modify, and "
        "dismiss this one"
    ),
    StoreReason.TOO_LARGE: (
        "the store, or a proxy before it, takes nothing so large: raise its limit, then retry, or "
        "dismiss it"
    ),
    StoreReason.FORBIDDEN: f"give the account the permission that is missing, {_SEND_AGAIN}",
}
_OTHERWISE = f"see the log for what failed, mend that, {_SEND_AGAIN}"
_FORMER = "it is for a store that the account was formerly: orthanc-gcp destinations"
_DISMISSED = "a person has dismissed it: retry sends it after all"


_LISTED = re.compile(r"([0-9]{1,18})-[0-9a-f]{16}")
_EVERYTHING = (1 << 63) - 1
_AT_ONCE = 1000


class MoreInQuarantineError(Exception):
    """More is in quarantine than a person has seen who dismisses it: nothing was dismissed."""


class QuarantineChangedError(Exception):
    """What was listed is not what is in quarantine by now: nothing was dismissed."""


@dataclass(frozen=True)
class QuarantineGroup:
    """What is in quarantine at one store for one reason; moments are seconds since 1970, UTC.

    Attributes
    ----------
    destination
        The number of the store.
    store
        The path of the store; None of a ledger that did not write it down.
    current
        Whether the account still is that store.
    example, detail
        The SOP Instance UID of one of them, and what is said of it.
    """

    account: str
    destination: int
    store: str | None
    current: bool
    state: State
    reason: str
    instances: int
    bytes: int
    studies: int
    oldest_received_at: float
    example: str
    detail: str | None

    @property
    def remedy(self) -> str:
        """What a person can do about it."""
        if self.state is State.DISMISSED:
            return _DISMISSED
        return remedy_for(self.reason) if self.current else _FORMER

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Account": self.account,
            "Destination": self.destination,
            "Store": self.store,
            "Current": self.current,
            "State": self.state.value,
            "Reason": self.reason,
            "Instances": self.instances,
            "Bytes": self.bytes,
            "Studies": self.studies,
            "OldestReceived": utc(self.oldest_received_at),
            "Example": self.example,
            "Detail": self.detail,
            "Remedy": self.remedy,
        }


def remedy_for(reason: str) -> str:
    """What a person can do about instances that are in quarantine for a reason."""
    return _REMEDIES.get(reason, _OTHERWISE)


def quarantine(
    ledger: Ledger, selection: Selection, state: State = State.QUARANTINED
) -> list[QuarantineGroup]:
    """What is in quarantine, or was dismissed, of a selection: most instances first.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of, stores = transfers.c, {one.id: one for one in ledger.destinations.all()}
    current = {one.id for one in ledger.destinations.current().values()}
    reason = sql.func.coalesce(of.reason, "")
    query = (
        sql.select(
            of.destination_id,
            of.account,
            reason.label("reason"),
            sql.func.count().label("instances"),
            sql.func.sum(of.size_bytes).label("bytes"),
            sql.func.count(of.study_instance_uid.distinct()).label("studies"),
            sql.func.min(of.received_at).label("oldest"),
            sql.func.min(of.id).label("first"),
        )
        .where(*replace(selection, state=state).conditions)
        .group_by(of.destination_id, of.account, reason)
    )
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
        first = [row.first for row in rows]
        examples = {
            row.id: row
            for row in connection.execute(
                sql.select(of.id, of.sop_instance_uid, of.detail).where(of.id.in_(first))
            )
        }
    groups = [
        QuarantineGroup(
            account=row.account,
            destination=row.destination_id,
            store=stores[row.destination_id].store if row.destination_id in stores else None,
            current=row.destination_id in current,
            state=state,
            reason=row.reason,
            instances=row.instances,
            bytes=int(row.bytes),
            studies=row.studies,
            oldest_received_at=row.oldest,
            example=examples[row.first].sop_instance_uid,
            detail=examples[row.first].detail,
        )
        for row in rows
        if row.first in examples
    ]
    return sorted(groups, key=lambda one: (one.account, -one.instances, one.reason))


def counts_by_reason(ledger: Ledger) -> dict[tuple[str, str], int]:
    """How many instances are in quarantine, by account and reason; also for former stores.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of, found = transfers.c, dict[tuple[str, str], int]()
    query = sql.select(of.account, sql.func.coalesce(of.reason, ""), sql.func.count())
    query = query.group_by(of.account, of.reason)
    with ledger.reading() as connection:
        for place in ledger.destinations.all():
            mine = Selection(destination_id=place.id, state=State.QUARANTINED).conditions
            for account, reason, count in connection.execute(query.where(*mine)):
                found[account, reason] = found.get((account, reason), 0) + count
    return found


def newest_event_now(ledger: Ledger) -> int:
    """The number of the newest event: what comes into quarantine later has one beyond it.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    with ledger.reading() as connection:
        return connection.scalar(sql.select(sql.func.max(events.c.id))) or 0


def list_name(ledger: Ledger, selection: Selection) -> str | None:
    """What :func:`dismiss` takes, to dismiss what is in quarantine of a selection, and no more.

    To be read before what it names is shown: what comes between is not on the list then. None where
    nothing is in quarantine.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    found = _List()
    with ledger.reading() as connection:
        # Whoever has some of the rows of a server's cursor only has to close it.
        streamed = connection.execution_options(yield_per=_AT_ONCE)
        with streamed.execute(_rows(selection, _EVERYTHING)) as rows:
            found.read(rows)
    return found.name if found.rows else None


def dismiss(
    ledger: Ledger,
    selection: Selection,
    *,
    by: str,
    why: str,
    seen: int | None = None,
    as_of: int | None = None,
    listed: str | None = None,
) -> int:
    """Send nothing of what is in quarantine of a selection; how many instances.

    Older versions of them, which were not sent because of them, wait again. Who has done it, and
    why, stands in the receipts of their studies.

    Parameters
    ----------
    by
        Who dismisses them, with how that is known: ``jane (as typed)``.
    seen
        How many instances that person has seen of it; None where it is not known.
    as_of
        What :func:`newest_event_now` was before these were shown: what came later is left alone.
    listed
        By what the list of the same selection was named: what came later is left alone. None for
        all that there is.

    Raises
    ------
    MoreInQuarantineError
        There are more by now.
    QuarantineChangedError
        Something of the list was sent again, dismissed or received anew meanwhile, or came into
        quarantine at the very moment when it was listed.
    ValueError
        ``by`` or ``why`` is empty, too long, or no text of one line; or no list is named so.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing has changed.
    """
    for words, most in ((by, LONGEST_NAME + _MOST_ADDED), (why, LONGEST_WHY)):
        if fault := word_fault(words, most):
            raise ValueError(fault)
    last = _EVERYTHING if as_of is None else as_of
    last = last if listed is None else _last_of(listed)
    said, of, found = f"dismissed by {by}: {why}", transfers.c, _List()
    with ledger.writing() as connection:
        locked = _rows(selection, last).with_for_update(of=transfers)
        found.read(connection.execute(locked), last)
        if listed not in (None, found.name):
            raise QuarantineChangedError(
                "what is in quarantine is not what was listed: list it again, by the same choice"
            )
        rows = found.rows
        if seen is not None and len(rows) > seen:
            words = f"{len(rows)} instances are in quarantine by now, and {seen} were shown"
            raise MoreInQuarantineError(f"{words}: look at them again")
        for some in portions(rows, MOST_PARAMETERS):
            mine = transfers.update().where(of.id.in_(some))
            connection.execute(mine.values(state=State.DISMISSED, detail=said))
            add_for(connection, ledger.now(), some, "dismissed", said)
            reopen_versions(connection, ledger.now(), some)
    return len(rows)


class _List:
    """What is in quarantine of a selection, while it is read.

    Attributes
    ----------
    rows
        Of the transfers that are on it.
    """

    def __init__(self) -> None:
        self._last, self._digest = 0, hashlib.sha256()
        self.rows: list[int] = []

    @property
    def name(self) -> str:
        """What names it."""
        return f"{self._last}-{self._digest.hexdigest()[:16]}"

    def read(self, rows: Iterable[Any], last: int | None = None) -> None:
        """Take rows, each with the event that it is there by; up to an event that is known."""
        for number, event, reason, queued_at in rows:
            self.rows.append(number)
            self._digest.update(f"{number} {event} {reason} {queued_at!r}\n".encode())
            self._last = max(self._last, event)
        self._last = self._last if last is None else last


def _rows(selection: Selection, last_event: int) -> sql.Select[Any]:
    """What is in quarantine of a selection, each with the newest event that says so."""
    of, where = transfers.c, replace(selection, state=State.QUARANTINED).conditions
    rows, said_by = newest_event(State.QUARANTINED, where)
    query = sql.select(of.id, said_by, of.reason, of.queued_at).select_from(rows)
    return query.where(*where, said_by <= last_event).order_by(of.id)


def _last_of(listed: str) -> int:
    """The number of the event at which a list ends, by its name."""
    parts = _LISTED.fullmatch(listed)
    if parts is None:
        raise ValueError("expected the name of a list")
    return int(parts[1])


def as_typed(name: str) -> str:
    """Who says so, as far as somebody has typed it: nobody has proved it."""
    return f"{name} (as typed)"


def logged_in(name: str) -> str:
    """Who says so, by the name that Orthanc has asked a password for."""
    return f"{name} (logged in to Orthanc)"


def word_fault(words: str, most: int) -> str | None:
    """Why words of a person cannot stand in a receipt; None where they can."""
    if not words.strip():
        return "expected words"
    if len(words) > most:
        return f"expected {most} characters at most"
    return None if words.isprintable() else "expected text of one line"
