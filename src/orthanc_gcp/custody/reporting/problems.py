"""What stands still because something is missing that only a person can bring back.

Instances of an account that the configuration does not have, of a store that it is no more, of an
index that no Orthanc has any more, and those that a new ledger knows nothing of: no try fails for
them, so nothing else would say that they wait. Everything is read from the ledger when it is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.intake.former_ledgers import former_ledgers
from orthanc_gcp.custody.intake.inventory import failing_comparisons
from orthanc_gcp.custody.intake.open_transfers import GONE, SEEN_WITHIN, seen_indexes
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSETTLED, State, transfers
from orthanc_gcp.ledger.workers import running, served

__all__ = [
    "Problem",
    "ProblemKind",
    "Problems",
    "find_problems",
    "unread",
    "unseen",
    "unsent",
    "without_worker",
]

SHARE, FRESH = 50, 10.0
"""Problems are given again for so many times as long as they take, and so many seconds at least."""
RECOGNIZE_WITHIN = 60.0
"""Seconds that a worker has to find out which index its Orthanc has."""


class ProblemKind(StrEnum):
    """What is missing."""

    ACCOUNT = "account"  # the configuration does not have it, or has an error in it
    STORE = "store"  # the account is another one by now
    INDEX = "index"  # no Orthanc that a worker follows has it
    LEDGER = "ledger"  # there was another before this one
    FILE = "file"  # Orthanc cannot read it, and a rule asks for what only it has
    WORKER = "worker"  # none runs, or it cannot follow Orthanc, or send
    SUBSCRIPTION = "subscription"  # it cannot be pulled, so that nothing is received by it


@dataclass(frozen=True)
class Problem:
    """Something that keeps instances where they are until a person does something.

    Attributes
    ----------
    account
        Empty for all accounts.
    index
        What the ledger calls the index of Orthanc; empty for all.
    destination
        The number of the store that they are for; None for all.
    instances
        How many do not go on.
    since
        Since when the oldest of them is to be sent, in seconds since 1970; None where unknown.
    message, remedy
        What is the matter; what to do.
    subject
        What else tells it from others of its kind: a worker, or a subscription.
    """

    kind: ProblemKind
    account: str
    index: str
    instances: int
    since: float | None
    message: str
    remedy: str
    destination: int | None = None
    subject: str = ""

    @property
    def what(self) -> tuple[ProblemKind, str, str, int | None, str]:
        """What tells it from others, however many instances it is about."""
        return self.kind, self.account, self.index, self.destination, self.subject

    def concerns(self, account: str) -> bool:
        """Whether it is one of an account."""
        return self.account in ("", account)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Kind": self.kind.value,
            "Account": self.account or None,
            "Index": self.index or None,
            "Destination": self.destination,
            "Instances": self.instances,
            "Since": utc(self.since),
            "Message": self.message,
            "Remedy": self.remedy,
        }


@dataclass(frozen=True)
class _Open:
    """What is not confirmed of an index, for a store; how many of it are not sent."""

    account: str
    store: str | None
    destination: int
    is_current: bool
    index: str
    instances: int
    unsent: int
    since: float


class Problems:
    """The problems of one ledger, as a worker shows them; safe for several threads.

    Parameters
    ----------
    accounts
        Those that the configuration has.
    rejections
        Account -> why the configuration of it is not used.
    sends
        Whether the worker sends anything: not where it is there to retrieve, and no rule sends.
    worker
        For which worker it is, which has to find out first which index its Orthanc has, and says by
        itself what it cannot do; empty for a command.
    """

    def __init__(
        self,
        ledger: Ledger,
        accounts: Collection[str],
        rejections: Mapping[str, str],
        *,
        sends: bool = True,
        worker: str = "",
    ) -> None:
        self._ledger, self._accounts, self._rejections = ledger, accounts, rejections
        self._find = partial(find_problems, worker=worker)
        if not sends:
            self._find = partial(without_worker, rules=(), runs=True, worker=worker)
        self._lock = threading.Lock()
        self._began = ledger.now() if worker else float("-inf")
        self._found: list[Problem] = []
        self._read_at, self._fresh = float("-inf"), 0.0

    def found(self) -> list[Problem]:
        """All that there are, as they were some seconds ago.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        with self._lock:
            now = self._ledger.now()
            if not 0 <= now - self._read_at < self._fresh:
                began = time.perf_counter()
                found = self._find(self._ledger, self._accounts, self._rejections)
                if 0 <= now - self._began < RECOGNIZE_WITHIN:
                    found = [one for one in found if one.kind is not ProblemKind.INDEX]
                self._found, self._read_at = found, now
                self._fresh = max(FRESH, SHARE * (time.perf_counter() - began))
            return self._found


def find_problems(
    ledger: Ledger, accounts: Collection[str], rejections: Mapping[str, str], worker: str = ""
) -> list[Problem]:
    """What stands still in a ledger that workers are there for.

    What a worker with another configuration sends, does not.

    Parameters
    ----------
    accounts, rejections, worker
        See :class:`Problems`.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    waiting = _open(ledger)
    found = [
        problem
        for one in _sums(_unserved(ledger, waiting), lambda one: one.destination)
        if (problem := _of_account(one, accounts, rejections)) is not None
    ]
    here = seen_indexes(ledger)
    found += [
        _of_index(replace(one, instances=one.unsent))
        for one in waiting
        if one.index not in here and one.unsent and one.is_current and one.account in accounts
    ]
    found += [
        Problem(
            ProblemKind.LEDGER,
            "",
            one.source,
            one.instances,
            one.noticed_at,
            f"this ledger is a new one, and Orthanc was followed with another before: of the "
            f"{one.instances:,} instances that {one.source} had then, it knows only what was "
            "received since",
            "restore the ledger of before; or send what is there, with Backfill in the "
            "configuration and `orthanc-gcp backfill CONFIG --restart`; or, if neither is wanted, "
            f"`orthanc-gcp indexes CONFIG --accept-ledger {one.source}`",
        )
        for one in former_ledgers(ledger)
    ]
    found += _without_file(ledger, here) + _not_compared(ledger, here)
    return found + _without_orthanc(ledger, here, worker)


def without_worker(
    ledger: Ledger,
    accounts: Collection[str],
    rejections: Mapping[str, str],
    rules: Collection[Any],
    *,
    runs: bool = False,
    worker: str = "",
) -> list[Problem]:
    """What stands still in a ledger while no worker sends: all of it, whatever Orthanc has.

    Parameters
    ----------
    accounts, rejections, worker
        See :class:`Problems`.
    rules
        Those of ``Send``: without one, Orthanc starts no worker that sends.
    runs
        Whether one runs that only retrieves.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    if rules:
        why, remedy = "no worker runs", "see Orthanc's log why it has ended, or start Orthanc"
    else:
        why = "nothing is sent" if runs else "no worker runs"
        why += ", as the configuration has no rule in Send"
        remedy = (
            "put a rule into Send, then restart Orthanc; or start `orthanc-gcp worker CONFIG`, "
            "which sends what waits; or end it with `orthanc-gcp indexes CONFIG --close INDEX`"
        )
    found = find_problems(ledger, accounts, rejections, worker)
    return [one for one in found if one.kind is not ProblemKind.INDEX] + [
        Problem(
            ProblemKind.WORKER,
            one.account,
            "",
            one.instances,
            one.since,
            f"{_wait(one)} and nobody sends or confirms them: {why}",
            remedy,
        )
        for one in _sums(_unserved(ledger, _open(ledger)), lambda one: one.account)
    ]


def unread(ledger: Ledger, index: str, since: float, words: str) -> list[Problem]:
    """What a worker says that cannot follow its Orthanc, unless another one follows the same index.

    Parameters
    ----------
    index
        What the ledger calls one that another worker may follow; empty for none.
    since
        In seconds since 1970.
    words
        Why.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    if index in seen_indexes(ledger):
        return []
    message = f"what Orthanc receives is not read, and not sent: {words}"
    remedy = "see the message; what it has received by then is read when it can be followed again"
    kind = ProblemKind.WORKER
    return [Problem(kind, "", index, 0, since, message, remedy, subject="following")]


def unsent(since: float, words: str) -> Problem:
    """What a worker says that can send nothing, whatever the stores are.

    Parameters
    ----------
    since
        In seconds since 1970.
    words
        Why.
    """
    return _of_this_worker(since, f"what waits is not sent: {words}", "sending")


def unseen(since: float, words: str) -> Problem:
    """What a worker says that has lost its lock: it neither follows its Orthanc nor sends.

    Parameters
    ----------
    since
        In seconds since 1970.
    words
        Why.
    """
    message = f"what Orthanc receives is not read, and what waits is not sent by this one: {words}"
    return _of_this_worker(since, message, "lock")


def _of_this_worker(since: float, message: str, subject: str) -> Problem:
    remedy = "see the message, and the worker's log; it goes on when that is over"
    return Problem(ProblemKind.WORKER, "", "", 0, since, message, remedy, subject=subject)


def _unserved(ledger: Ledger, waiting: Sequence[_Open]) -> list[_Open]:
    """What no worker sends, whatever its configuration is."""
    others = served(ledger.engine) if waiting else set()
    return [one for one in waiting if (one.destination, one.index) not in others]


def _open(ledger: Ledger) -> list[_Open]:
    """What is not done, by store and index; it costs as much as there is of that."""
    of = transfers.c
    unsent = sql.func.sum(sql.case((of.state == State.ACKNOWLEDGED, 0), else_=1))
    # What is in quarantine for a present store is reported as that, and retried there.
    counted = sql.select(sql.func.count(), unsent, sql.func.min(of.queued_at))
    open_there = of.state.in_(UNSETTLED)
    open_formerly = of.state.in_((*UNSETTLED, State.QUARANTINED))
    places = ledger.destinations.all()
    current = {one.id for one in ledger.destinations.current(places).values()}
    found = []
    with ledger.reading() as connection:
        for place in places:
            for index in _indexes_of(connection, place.id):
                is_current = place.id in current
                mine = of.destination_id == place.id, of.source == index
                meant = open_there if is_current else open_formerly
                count, left, since = connection.execute(counted.where(*mine, meant)).one()
                if count:
                    kind = place.account, place.store, place.id, is_current, index
                    found.append(_Open(*kind, count, int(left), since))
    return found


def _indexes_of(connection: sql.Connection, destination: int) -> Iterator[str]:
    """The indexes that the ledger has rows of: by one look each, and not by all of the rows."""
    of = transfers.c
    least = sql.select(sql.func.min(of.source)).where(of.destination_id == destination)
    found = connection.scalar(least)
    while found is not None:
        yield found
        found = connection.scalar(least.where(of.source > found))


def _sums(waiting: Iterable[_Open], key: Callable[[_Open], Hashable]) -> list[_Open]:
    """What waits, together for what has the same key."""
    found: dict[Hashable, _Open] = {}
    for one in waiting:
        before = found.get(key(one))
        found[key(one)] = (
            one
            if before is None
            else replace(
                one,
                index="",
                instances=before.instances + one.instances,
                unsent=before.unsent + one.unsent,
                since=min(before.since, one.since),
            )
        )
    return list(found.values())


def _of_account(
    one: _Open, accounts: Collection[str], rejections: Mapping[str, str]
) -> Problem | None:
    kind, number = ProblemKind.ACCOUNT, one.destination
    if one.account not in {*accounts, *rejections}:
        message = f"{_wait(one)}: the configuration has no account {one.account}"
        remedy = (
            "put the account back, or give it its name again, then restart Orthanc; or "
            f"`orthanc-gcp destinations CONFIG --hand-over {number} --to ACCOUNT` has them sent to "
            f"another one, `--close {number}` ends them"
        )
    elif not one.is_current:
        kind = ProblemKind.STORE
        message = (
            f"{_wait(one)} for {one.store or 'a store that is not known'}: the account is another "
            "store by now"
        )
        remedy = (
            f"`orthanc-gcp destinations CONFIG --hand-over {number}` has them sent to the store "
            f"that it is now, `--close {number}` ends them; or let the account name that one again"
        )
    elif one.account in rejections:
        message = f"{_wait(one)}: the configuration of the account has an error"
        remedy = "correct the account in Orthanc's configuration, then restart Orthanc"
    else:
        return None
    return Problem(
        kind, one.account, "", one.instances, one.since, message, remedy, one.destination
    )


_START = "start its Orthanc, with its worker; if it does not come back: "


def _of_index(one: _Open) -> Problem:
    return Problem(
        ProblemKind.INDEX,
        one.account,
        one.index,
        one.instances,
        one.since,
        f"{_wait(one)}: {GONE} ({one.index})",
        f"{_START}`orthanc-gcp indexes CONFIG --hand-over {one.index}` has another one send what "
        f"it holds, `--close {one.index}` ends it",
    )


def _without_file(ledger: Ledger, here: Collection[str]) -> list[Problem]:
    """Instances that no rule can be applied to: they have no row."""
    mend = (
        "see the log of Orthanc, and of a proxy before it, what it cannot read or answer, and "
        "restore that; they are tried again all the time"
    )
    return [
        Problem(
            ProblemKind.FILE,
            "",
            source,
            count,
            None,
            f"of {count:,} instances of {source} it is not known whether the rules want them: "
            "Orthanc does not describe them, or cannot read the attributes that the rules ask for, "
            "and only the files have",
            mend
            if source in here
            else f"{_START}`orthanc-gcp indexes CONFIG --close {source}` ends it",
        )
        for source, count in ledger.arrivals.unreadable_counts().items()
        if count
    ]


def _not_compared(ledger: Ledger, here: Collection[str]) -> list[Problem]:
    """Indexes that are followed, and of which no comparison comes to its end."""
    return [
        Problem(
            ProblemKind.WORKER,
            "",
            source,
            0,
            one.since,
            f"what {source} has cannot be compared with the ledger: what its changes do not report "
            f"is not found, and not sent: {one.words}",
            "see the message, and Orthanc's log; it is compared once a minute until that succeeds",
            subject="comparison",
        )
        for source, one in failing_comparisons(ledger).items()
        if source in here
    ]


def _without_orthanc(ledger: Ledger, here: Collection[str], but: str) -> list[Problem]:
    """Workers that run and do not follow their Orthanc, though nothing waits in the ledger.

    They cannot read it, or not write that down; or they have stopped, and cannot say so.

    Parameters
    ----------
    here
        The indexes that are followed.
    but
        The worker that asks.
    """
    seen = {one.source: one.seen_at for one in ledger.indexes.all()}
    found = []
    for one in running(ledger.engine):
        since = one.began if one.source is None else seen.get(one.source)
        is_new = since is None or ledger.now() - since < SEEN_WITHIN
        # An empty Orthanc is followed, and it is not known for sure yet which that is.
        may_follow = one.source in here or (one.source is None and (is_new or here))
        if one.name == but or may_follow:
            continue
        orthanc = "its Orthanc" if one.source is None else f"Orthanc {one.source}"
        message = (
            f"worker {one.name} runs and does not follow {orthanc}: what that receives is not "
            "read, and not sent"
        )
        remedy = "see its log; if it has stopped writing there, restart it"
        kind = ProblemKind.WORKER
        index, subject = one.source or "", one.name
        found.append(Problem(kind, "", index, 0, since, message, remedy, subject=subject))
    return found


def _wait(one: _Open) -> str:
    return "1 instance waits" if one.instances == 1 else f"{one.instances:,} instances wait"
