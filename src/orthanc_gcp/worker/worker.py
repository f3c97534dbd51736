"""One worker: the parts of custody, put together and kept running."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.custody import database
from orthanc_gcp.custody.allowance import Allowance
from orthanc_gcp.custody.archive import Archive
from orthanc_gcp.custody.backfill import Backfill
from orthanc_gcp.custody.carrier import Carrier, Destination
from orthanc_gcp.custody.demand import demand
from orthanc_gcp.custody.dispatcher import Dispatcher
from orthanc_gcp.custody.follower import Follower
from orthanc_gcp.custody.ledger import Ledger
from orthanc_gcp.custody.membership import Membership, join
from orthanc_gcp.custody.pace import Pace
from orthanc_gcp.custody.receipts import receipts
from orthanc_gcp.custody.reports import Reports
from orthanc_gcp.custody.rules import Rules
from orthanc_gcp.custody.tables import Urgency
from orthanc_gcp.custody.witness import Witness
from orthanc_gcp.custody.workflows import Workflows
from orthanc_gcp.errors import PublicationError
from orthanc_gcp.orthanc_rest import OrthancRest
from orthanc_gcp.store import of_account
from orthanc_gcp.worker.api import Api, Listener
from orthanc_gcp.worker.tokens import Tokens
from orthanc_gcp.worker.webhook import Webhook

__all__ = ["Worker"]

_log = logging.getLogger(__name__)

IDLE, ACTIVE = 0.3, 0.05
"""Seconds between two looks at Orthanc's changes, while nothing comes and while something does."""
ASK_EVERY = 0.5
"""Seconds between two looks at what people have paused."""
LONGEST_PAUSE = 10.0
BELONG_EVERY = 1.0
_AHEAD_OF_BACKFILL = (Urgency.LIVE, Urgency.DEMANDED)
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
        self._engine = database.connect(
            database.url_of(settings.section.database, settings.storage_folder)
        )
        self.ledger = Ledger(self._engine)
        self._name = name
        self._membership: Membership | None = None
        self.reports = Reports(self.ledger)
        self._paused: set[str] = set()
        self._asked = float("-inf")
        self._tokens = Tokens(settings, self._clock)
        archive = Archive(orthanc, settings.storage_folder)
        self.destinations = {
            account.name: self._destination(settings, account) for account in settings.accounts
        }
        carrier = Carrier(
            self.ledger,
            archive,
            self.destinations,
            self._tokens,
            name,
            self._clock,
            self._must_stop,
        )
        witness = Witness(self.ledger, self.destinations, self._must_stop)
        self._workflows = Workflows(self._engine, name, carrier, witness, self._work.set)
        rules = Rules(settings.rules, archive.simplified_tags)
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
            Webhook(settings, self.ledger, self._overview, self._clock)
            if settings.section.webhook
            else None
        )
        self.backfill = Backfill(
            self.ledger,
            archive,
            rules,
            settings.backfill,
            len({rule.to for rule in settings.rules}),
            self._clock,
            lambda: self._follower.source,
            self._must_stop,
            self._work.set,
        )
        self._dispatcher = Dispatcher(
            self.ledger,
            self.destinations,
            self._workflows,
            name,
            self._clock,
            lambda: self._follower.source,
            self._allowed,
            {account.name: account.give_up_after for account in settings.accounts},
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
            self.reports,
            tuple(self.destinations),
            self._problems,
            partial(demand, self.ledger, self._archive, on_arrival=self._work.set),
            partial(receipts, self.ledger),
            self._change,
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
        self._tokens.start()
        self._workflows.start()
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
            rests = self._workflows.rest(LAST_WORDS)
            if rests:
                membership.leave()  # first: Orthanc does not wait for the rest
            for one in beside:
                one.stop()
            self._workflows.stop()
            self._tokens.stop()
            if not rests:
                membership.leave()
            self._engine.dispose()

    def stop(self) -> None:
        """End :meth:`run`, from any thread or a signal handler."""
        self._stopping.set()
        self._work.set()

    def _join(self) -> Membership:
        self.ledger.create()
        return join(self._engine, self._name, self._clock)

    def _must_stop(self) -> bool:
        """Whether what is being sent is to be broken off."""
        return self._stopping.is_set() or not (self._membership and self._membership.alive)

    def _follow(self) -> None:
        pause = IDLE
        while not self._stopping.wait(pause):
            pause = self._try("follow", self._follow_if_mine, pause, ACTIVE, IDLE)

    def _follow_if_mine(self) -> bool:
        """Of several workers on an Orthanc one follows it."""
        source = self._follower.open()
        mine = self._membership is not None and self._membership.follows
        return bool(source) and mine and self._follower.step()

    def _fill(self) -> None:
        pause = IDLE
        while not self._stopping.wait(pause):
            pause = self._try("backfill", self._fill_if_mine, pause, 0.0, IDLE)

    def _fill_if_mine(self) -> bool:
        """The worker that follows an Orthanc also does its backfill."""
        mine = self._membership is not None and self._membership.follows
        return mine and self.backfill.step()

    def _belong(self) -> None:
        """Take over what workers have left behind that died."""
        membership = self._membership
        while membership is not None and not self._stopping.wait(BELONG_EVERY):
            for dead in membership.look(self._follower.source):
                _log.warning("worker %s has died: what it was sending is taken over", dead)
                self._try("take over", partial(self._take_over, dead), 0.0, 0.0, 0.0)

    def _take_over(self, dead: str) -> bool:
        self.ledger.adopt(self._name, dead)
        self._workflows.take_over(dead)
        if self._membership is not None:
            self._membership.bury(dead)
        return True

    def _dispatch(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            pause = self._try("dispatch", self._dispatcher.step, pause, 0.0, IDLE)
            self._work.wait(pause)
            self._work.clear()

    def _try(
        self, what: str, step: Callable[[], bool], pause: float, active: float, idle: float
    ) -> float:
        """Make a step; how long to wait until the next."""
        try:
            return active if step() else idle
        except (PublicationError, sql.exc.SQLAlchemyError) as error:
            words = str(error).splitlines()[0]
            _log.warning("cannot %s: %s", what, words)
        except Exception:
            _log.exception("cannot %s", what)
        return min(LONGEST_PAUSE, max(IDLE, pause) * 2)

    def _reach(self, step: Callable[[], Membership]) -> Membership | None:
        """Do what needs the database, however long it is away; None when the worker stops."""
        pause = IDLE
        while not self._stopping.is_set():
            try:
                return step()
            except sql.exc.OperationalError as error:
                _log.warning("the ledger cannot be reached: %s", str(error).splitlines()[0])
                pause = min(LONGEST_PAUSE, pause * 2)
                self._stopping.wait(pause)
        return None

    def _allowed(self, account: str) -> Collection[Urgency]:
        now = self._clock.now()
        if now - self._asked > ASK_EVERY:
            self._paused, self._asked = self.reports.paused(), now
        return () if account in self._paused else self._urgencies()

    def _change(self) -> None:
        """Somebody has paused, resumed, asked for something: see at once."""
        self._asked = float("-inf")
        self._work.set()

    def _overview(self) -> list[dict[str, Any]]:
        return self.reports.overview(self.destinations, self._problems())

    def _problems(self) -> dict[str, str | None]:
        """What keeps each account from being sent to just now."""
        return {name: one.pace.problem for name, one in self.destinations.items()}

    def _urgencies(self) -> Collection[Urgency]:
        return tuple(Urgency) if self.backfill.open() else _AHEAD_OF_BACKFILL

    def _destination(self, settings: Settings, account: Account) -> Destination:
        caps = []
        if account.max_bytes_per_second:
            caps.append(self._allowance(f"{account.name}:bytes", account.max_bytes_per_second))
        slow = []
        if settings.backfill and settings.backfill.max_bytes_per_second:
            slow.append(self._allowance("backfill:bytes", settings.backfill.max_bytes_per_second))
        request: Callable[[], None] = _free
        if account.max_requests_per_minute:
            rate = account.max_requests_per_minute / 60
            requests = self._allowance(f"{account.name}:requests", rate)
            request = lambda: requests.take(1)  # noqa: E731
        return Destination(
            account=account.name,
            store=of_account(settings, account, self._tokens.authorization),
            upsert=of_account(settings, account, self._tokens.authorization, upsert=True),
            pace=Pace(self._clock, account.max_connections),
            replaces=account.on_conflict == "Replace",
            verify=account.verify,
            takers=lambda urgency: [
                cap.taker() for cap in (*caps, *(slow if urgency == Urgency.BACKFILL else ()))
            ],
            request=request,
        )

    def _allowance(self, name: str, rate: float) -> Allowance:
        return Allowance(self.ledger, name, rate, self._stopping.wait)


def _free() -> None:
    """There is no cap on requests."""
