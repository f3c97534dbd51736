"""Workers whose every step a test takes: the parts of the product, no thread, a clock that is set.

A worker can be killed at each of its commits, at each request to Orthanc or to the store, and
within what it sends: what it has claimed stays claimed, and what is in its memory is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.intake.backfill import Backfill
from orthanc_gcp.custody.intake.changes import Follower
from orthanc_gcp.custody.intake.protection import Protection
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.transfer.dispatcher import Dispatcher
from orthanc_gcp.custody.transfer.permissions import Permissions
from orthanc_gcp.custody.transfer.sender import Sender
from orthanc_gcp.custody.transfer.threads import TransferThreads
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.damage import quarantine_damaged
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.orthanc.recycling import StorageLimits
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage

__all__ = ["ACCOUNT", "KillPoints", "Killed", "SimulatedWorker", "Together", "Town"]

ACCOUNT = "google"
MOST_PATIENTS = 4
"""Orthanc's option ``MaximumPatientCount``."""
_CONNECTIONS = 3


class Killed(BaseException):
    """The process is gone: nothing of it may catch this."""


class KillPoints:
    """Where a process can end: at each of these it counts down."""

    def __init__(self) -> None:
        self._left: int | None = None

    def arm(self, passing: int) -> None:
        """Let so many more pass."""
        self._left = passing

    def disarm(self) -> None:
        self._left = None

    def __call__(self) -> None:
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._left = None
            raise Killed


class _Rest(OrthancRest):
    """Orthanc's REST API, whose client may die before and after each request."""

    points: KillPoints

    def _answer(self, *question: Any) -> bytes | None:
        self.points()
        answer = super()._answer(*question)
        self.points()
        return answer

    @contextmanager
    def read(self, path: str) -> Iterator[Iterator[bytes]]:
        with super().read(path) as pieces:
            yield self._passing(pieces)

    def _passing(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.points()
            yield piece


class _Store(DicomStore):
    """A store, whose client may die before and after each request."""

    points: KillPoints

    def store(self, *parts: Any, **more: Any) -> Any:
        self.points()
        stored = super().store(*parts, **more)
        self.points()
        return stored

    def instances(self, *uids: Any, **more: Any) -> Generator[Any]:
        self.points()
        yield from super().instances(*uids, **more)
        self.points()

    @contextmanager
    def open(self, *uids: str) -> Generator[Iterator[bytes]]:
        self.points()
        with super().open(*uids) as pieces:
            yield pieces
        self.points()


class _Tasks(Executor):
    """What would run in threads, until it is somebody's turn."""

    def __init__(self, tasks: list[Callable[[], None]]) -> None:
        self._tasks = tasks

    def submit(self, task: Any, /, *given: Any, **named: Any) -> Future[Any]:
        self._tasks.append(lambda: task(*given, **named))
        return Future()


class Together:
    """Which workers on one ledger are alive, and which of them follows which index.

    As the locks of :mod:`orthanc_gcp.ledger.workers` say it on PostgreSQL.
    """

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.followers: dict[str, str] = {}

    def follow(self, worker: str, source: str) -> None:
        """This worker follows an index if no other does, and none but that."""
        self.leave_but(worker, source)
        if source:
            self.followers.setdefault(source, worker)

    def leave_but(self, worker: str, source: str) -> None:
        self.followers = {
            of: by for of, by in self.followers.items() if by != worker or of == source
        }

    def end(self, worker: str) -> None:
        self.alive.discard(worker)
        self.leave_but(worker, "")


class Tokens:
    """Access tokens of an emulator."""

    def __init__(self, new: Callable[[], Any]) -> None:
        self._new, self._token = new, new()

    def authorization(self) -> Any:
        return self._token

    def renew(self, _account: str) -> None:
        self._token = self._new()

    def identity(self, _account: str) -> str:
        return "somebody"


class Town:
    """What workers have in common: the ledger, the store, and the time."""

    def __init__(
        self,
        database_url: str,
        clock: Any,
        store_url: str,
        token: Callable[[], Any],
        *,
        replaces: bool = False,
        verify: str = "Search",
        protects: bool = True,
    ) -> None:
        self.database_url, self.clock, self.store_url, self.token = (
            database_url,
            clock,
            store_url,
            token,
        )
        self.replaces, self.verify, self.protects = replaces, verify, protects
        self.together = Together()

    def now(self) -> float:
        """By the wall clock."""
        found: float = self.clock.utc().timestamp()
        return found


class SimulatedWorker:
    """One worker from its start to its end.

    Parameters
    ----------
    orthanc
        A :class:`tests.support.simulated_orthanc.SimulatedOrthanc`.
    rules
        As :class:`orthanc_gcp.configuration.SendRule`.
    since
        As :func:`orthanc_gcp.worker.assembly.assemble` takes it.
    """

    def __init__(
        self,
        town: Town,
        orthanc: Any,
        name: str,
        rules: Sequence[Any],
        since: float | None,
    ) -> None:
        self.name, self.orthanc, self._town = name, orthanc, town
        self.points, self.tasks = KillPoints(), list[Callable[[], None]]()
        self.problem = ""
        self.ended = False
        clock = town.clock
        self._engine = self._connected()
        self.ledger = Ledger(self._engine, town.now, {ACCOUNT: StoreName(town.store_url, "")})
        prepare(self._engine)
        quarantine_damaged(self._engine)
        town.together.alive.add(name)
        rest = _Rest(orthanc.url, timeout=5)
        rest.points = self.points
        source = OrthancSource(rest, orthanc.storage)
        tokens = Tokens(town.token)
        self._stores = [_Store(url, tokens.authorization) for url in self._urls()]
        for store in self._stores:
            store.points = self.points
        outage = Outage(logging.getLogger("simulated"), "down", "up", clock)
        destinations = {
            ACCOUNT: Destination(
                account=ACCOUNT,
                store=self._stores[0],
                upsert=self._stores[1],
                congestion=CongestionWindow(clock, _CONNECTIONS, outage, lambda: 0.5),
                replaces=town.replaces,
                verify=town.verify,
            )
        }
        chosen = Rules(rules, source.attributes)
        protection = Protection(
            self.ledger,
            source,
            clock,
            enabled=town.protects,
            up_to_percent=100,
            configured=StorageLimits(patients=MOST_PATIENTS),
        )
        self.follower = Follower(
            self.ledger,
            source,
            chosen,
            clock,
            lambda: None,
            self.ledger.now() if since is None else since,
            was_down=since is None,
            address=orthanc.url if since is None else "",
            follows=self._follows,
            on_read=orthanc.note_read,
            protection=protection,
        )
        sender = Sender(
            self.ledger,
            source,
            destinations,
            tokens,
            clock,
            lambda: False,
            lambda _error, _pause: None,
            self.follower.is_index,
            lambda: 0.5,
            protection.may_be_recycled,
            self.follower.undone,
        )
        self._threads = TransferThreads(
            sender,
            ReadBack(self.ledger, destinations, lambda: False, lambda: 0.5),
            {ACCOUNT: _CONNECTIONS},
            lambda account, lent: destinations[account].searches(lent),
            lambda: None,
            lambda _most, _name: _Tasks(self.tasks),
        )

        def followed() -> str:
            return self.follower.source

        nothing = Backfill(self.ledger, source, chosen, None, clock, lambda: False, lambda: None)
        self._dispatcher = Dispatcher(
            self.ledger,
            destinations,
            self._threads,
            name,
            clock,
            followed,
            Permissions(self.ledger, nothing, followed, clock).priorities,
            {ACCOUNT: None},
        )

    def _connected(self) -> sql.Engine:
        engine = database.connect(self._town.database_url)
        commit = engine.dialect.do_commit

        def watched(connection: Any) -> None:
            self.points()
            commit(connection)
            self.points()

        engine.dialect.do_commit = watched  # type: ignore[method-assign]
        return engine

    def _urls(self) -> tuple[str, str]:
        return self._town.store_url, self._town.store_url.replace("/v1/", "/v1beta1/")

    def _follows(self, source: str) -> bool:
        return self._town.together.followers.get(source) == self.name

    # -- Its loops, a step at a time --------------------------------------------------------------

    def follow(self) -> bool:
        """A step of the loop that follows; whether there was something to do."""
        self._town.together.follow(self.name, self.follower.candidate)
        try:
            worked = self.follower.step()
        except OrthancError as error:
            self.problem = str(error)
            return False
        self.problem = ""
        return worked

    def dispatch(self) -> bool:
        """A step of the loop that sends; whether something was begun."""
        return self._dispatcher.step()

    def take_over(self) -> None:
        """A step of the loop that watches other workers."""
        for dead in self._with_claims() - self._town.together.alive:
            self.ledger.queue.requeue_claims_of(dead)

    def _with_claims(self) -> set[str]:
        query = sql.select(transfers.c.worker).where(transfers.c.state == State.SENDING).distinct()
        with self.ledger.reading() as connection:
            return set(connection.scalars(query))

    def run_task(self, number: int = 0) -> bool:
        """Do one thing that a thread would; whether there was one."""
        if not self.tasks:
            return False
        self.tasks.pop(number % len(self.tasks))()
        return True

    def work(self) -> bool:
        """A step of each loop, and all that its threads have to do; whether there was anything."""
        worked = self.follow()
        self.take_over()
        worked |= self.dispatch()
        while self.run_task():
            worked = True
        return worked

    def end(self) -> None:
        """Be gone, and whatever is in memory with it."""
        if self.ended:
            return
        self.ended = True
        self.points.disarm()
        self.tasks.clear()
        self._town.together.end(self.name)
        for store in self._stores:
            store.close()
        self._engine.dispose()
