"""One worker: the parts of custody, put together and kept running."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from functools import partial

import sqlalchemy as sql

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.destinations.rate_limit import (
    backfill_byte_limit,
    byte_limit,
    request_limit,
)
from orthanc_gcp.custody.intake.backfill import Backfill
from orthanc_gcp.custody.intake.changes import Follower
from orthanc_gcp.custody.intake.dry_run import conditions
from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.reporting.operations import paused_accounts
from orthanc_gcp.custody.reporting.overview import AccountOverview, Overview
from orthanc_gcp.custody.transfer.dispatcher import Dispatcher
from orthanc_gcp.custody.transfer.sender import Sender
from orthanc_gcp.custody.transfer.threads import TransferThreads
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.dicomweb import of_account
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.ledger.workers import WorkerRegistry, join
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage
from orthanc_gcp.worker.api import Api
from orthanc_gcp.worker.attempts import BACKOFF, FOLLOWING, IDLE, Attempts
from orthanc_gcp.worker.listener import Listener
from orthanc_gcp.worker.samples import Sample, of_requests, of_tokens, of_transfers
from orthanc_gcp.worker.webhook import Webhook

__all__ = ["Worker"]

_log = logging.getLogger(__name__)

ACTIVE = 0.05
"""Seconds between two looks at Orthanc's changes while something comes."""
ASK_EVERY = 0.5
"""Seconds between two looks at what people have paused."""
BELONG_EVERY = 1.0
_AHEAD_OF_BACKFILL = (Priority.LIVE, Priority.DEMANDED)
LAST_WORDS = 5
"""Seconds that requests have to break off when the worker stops."""


class Worker:
    """Follows one Orthanc and sends what its rules want, until it is stopped.

    Parameters
    ----------
    name
        Tells this worker from others on the same database; the same after a restart.
    since
        When it began, in UTC seconds: what Orthanc received before its first start is not sent.
    """

    def __init__(
        self,
        settings: Settings,
        orthanc: OrthancRest,
        name: str,
        since: float | None = None,
    ) -> None:
        self._clock = SystemClock()
        self._stopping = threading.Event()
        self._work = threading.Event()
        self._engine = database.connect(database.url_for(settings))
        self.ledger = Ledger(self._engine)
        self._name, self._rejections = name, settings.rejections
        self._membership: WorkerRegistry | None = None
        self._overview = Overview(self.ledger)
        self._paused: set[str] = set()
        self._asked = float("-inf")
        self._attempts = Attempts(self._clock)
        self._settings, self._orthanc = settings, orthanc
        self._tokens = TokenSource(settings, self._clock)
        archive = OrthancSource(orthanc, settings.storage_folder)
        self.destinations = {
            account.name: self._destination(settings, account) for account in settings.accounts
        }
        carrier = Sender(
            self.ledger,
            archive,
            self.destinations,
            self._tokens,
            self._clock,
            self._must_stop,
            self._attempts.orthanc_away,
        )
        witness = ReadBack(self.ledger, self.destinations, self._must_stop)
        connections = {
            account: one.congestion.max_requests for account, one in self.destinations.items()
        }
        self._threads = TransferThreads(carrier, witness, connections, self._work.set)
        rules = Rules(settings.rules, archive.attributes)
        self._follower = Follower(
            self.ledger,
            archive,
            rules,
            self._clock,
            self._work.set,
            self.ledger.now() if since is None else since,
        )
        self._archive = archive
        self._listener: Listener | None = None
        self._webhook = (
            Webhook(settings, self.ledger, self._accounts, self._attempts, self._clock)
            if settings.section.webhook
            else None
        )
        self.backfill = Backfill(
            self.ledger,
            archive,
            rules,
            settings.backfill,
            self._clock,
            self._must_stop,
            self._work.set,
        )
        self._dispatcher = Dispatcher(
            self.ledger,
            self.destinations,
            self._threads,
            name,
            self._clock,
            lambda: self._follower.source,
            self._allowed,
            {account.name: account.give_up_after_seconds for account in settings.accounts},
            settings.backfill.max_bytes_per_second if settings.backfill else None,
        )

    def listen(self, secret: str, host: str = "127.0.0.1", port: int = 0) -> int:
        """Offer the API to those who know the secret, from :meth:`run` on; its port.

        Raises
        ------
        OSError
            The port cannot be had.
        """
        api = Api(
            self.ledger,
            self._overview,
            tuple(self.destinations),
            self._problems,
            partial(send_on_demand, self.ledger, self._archive, on_arrival=self._work.set),
            self._change,
            self._measure,
        )
        self._listener = Listener(api.application(secret), host, port)
        return self._listener.port

    def run(self) -> None:
        """Work until :meth:`stop`.

        Raises
        ------
        GcpError
            Another worker has the database, or the same name.
        """
        membership = self._reach(self._join)
        if membership is None:
            return
        self._membership = membership
        _log.warning("%s", self._announcement())
        self._tokens.start()
        beside = [one for one in (self._listener, self._webhook) if one is not None]
        for one in beside:
            one.start()
        loops = [
            threading.Thread(target=loop, name=f"gcp-{loop.__name__.strip('_')}")
            for loop in (self._follow, self._fill, self._belong)
        ]
        for thread in loops:
            thread.start()
        try:
            self._dispatch()
        finally:
            self.stop()
            for thread in loops:
                thread.join()
            rests = self._threads.rest(LAST_WORDS)
            if rests:
                membership.leave()  # first: Orthanc does not wait for the rest
            for one in beside:
                one.stop()
            self._threads.stop()
            self._tokens.stop()
            if not rests:
                membership.leave()
            self._engine.dispose()

    def stop(self) -> None:
        """End :meth:`run`, from any thread or a signal handler."""
        self._stopping.set()
        self._work.set()

    def _join(self) -> WorkerRegistry:
        prepare(self._engine)
        return join(self._engine, self._name, self._clock)

    def _announcement(self) -> str:
        """What people are told when it starts."""
        rules = [f"{rule.to} ({conditions(rule)})" for rule in self._settings.rules]
        wants = f"sends to {', '.join(rules)}" if rules else "sends only what it is asked to"
        return (
            f"the worker {self._name} has started: it follows Orthanc at {self._orthanc.url} and "
            f"{wants}; its ledger is {database.place(self._engine)}"
        )

    def _must_stop(self) -> bool:
        """Whether what is being sent is to be broken off."""
        return self._stopping.is_set() or not (self._membership and self._membership.alive)

    def _follow(self) -> None:
        pause = IDLE
        while not self._stopping.wait(pause):
            pause = self._attempts.make(FOLLOWING, self._follow_if_mine, pause, (ACTIVE, IDLE))

    def _follow_if_mine(self) -> bool:
        """Of several workers on an Orthanc one follows it."""
        source = self._follower.open()
        if source and self._membership is not None and self._membership.follows:
            return self._follower.step()
        if self._attempts.orthanc.active:
            self._archive.name()  # whether it is back
        return False

    def _fill(self) -> None:
        pause = IDLE
        while not self._stopping.wait(pause):
            pause = self._attempts.make("backfill", self._fill_if_mine, pause, (0.0, IDLE))

    def _fill_if_mine(self) -> bool:
        """The worker that follows an Orthanc also does its backfill."""
        mine = self._membership is not None and self._membership.follows
        return mine and self.backfill.step(self._follower.source)

    def _belong(self) -> None:
        """Requeue what workers have claimed that are dead."""
        pause = BELONG_EVERY
        while not self._stopping.wait(pause):
            both = (BELONG_EVERY, BELONG_EVERY)
            pause = self._attempts.make("take over", self._requeue_claims_of_the_dead, pause, both)

    def _requeue_claims_of_the_dead(self) -> bool:
        registry = self._membership
        if registry is None:
            return False
        for dead in registry.refresh(self._follower.source):
            _log.warning("worker %s has died: what it was sending is taken over", dead)
            self.ledger.requeue_claims_of(dead)
            registry.remove(dead)
            self._work.set()
        return True

    def _dispatch(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            pause = self._attempts.make("dispatch", self._dispatch_once, pause, (0.0, IDLE))
            self._work.wait(pause)
            self._work.clear()

    def _dispatch_once(self) -> bool:
        if self._attempts.ledger.active:
            self._asked = float("-inf")  # a step that asks nothing would not show that it is back
        return self._dispatcher.step()

    def _reach(self, step: Callable[[], WorkerRegistry]) -> WorkerRegistry | None:
        """Do what needs the database, however long it is away; None when the worker stops."""
        pause = IDLE
        while not self._stopping.is_set():
            try:
                reached = step()
            except sql.exc.OperationalError as error:
                pause = BACKOFF.after(pause)
                self._attempts.ledger_away(error, pause, by="start")
                self._stopping.wait(pause)
            else:
                self._attempts.ledger.ended(by="start")
                return reached
        return None

    def _allowed(self, account: str) -> Collection[Priority]:
        now = self._clock.now()
        if now - self._asked > ASK_EVERY:
            self._paused, self._asked = paused_accounts(self.ledger), now
        return () if account in self._paused else self._urgencies()

    def _change(self) -> None:
        """Somebody has paused, resumed, asked for something: see at once."""
        self._asked = float("-inf")
        self._work.set()

    def _accounts(self) -> list[AccountOverview]:
        problems = self._problems()
        return self._overview.accounts(problems, problems)

    def _measure(self) -> Iterator[Sample]:
        """What Prometheus is told."""
        yield from of_transfers(one.as_json() for one in self._accounts())
        yield from of_requests(
            {name: one.congestion.totals for name, one in self.destinations.items()}
        )
        yield from of_tokens(self._tokens.figures(), self._clock.utc().timestamp())

    def _problems(self) -> dict[str, str | None]:
        """What keeps each account from being sent to just now."""
        problems = {name: one.congestion.problem for name, one in self.destinations.items()}
        return {**problems, **self._rejections}

    def _urgencies(self) -> Collection[Priority]:
        return (
            tuple(Priority) if self.backfill.is_open(self._follower.source) else _AHEAD_OF_BACKFILL
        )

    def _destination(self, settings: Settings, account: Account) -> Destination:
        backfill = settings.backfill
        return Destination(
            account=account.name,
            store=of_account(settings, account, self._tokens.authorization),
            upsert=of_account(settings, account, self._tokens.authorization, upsert=True),
            congestion=CongestionWindow(
                self._clock, account.max_connections, self._store_outage(account)
            ),
            replaces=account.on_conflict == "Replace",
            verify=account.verify,
            request_limit=request_limit(account, self.ledger, self._stopping.wait),
            byte_limit=byte_limit(account, self.ledger, self._stopping.wait),
            backfill_byte_limit=backfill_byte_limit(backfill, self.ledger, self._stopping.wait),
        )

    def _store_outage(self, account: Account) -> Outage:
        store = f"account {account.name}: its store"
        return Outage(_log, f"{store} cannot be used", f"{store} is used again", self._clock)
