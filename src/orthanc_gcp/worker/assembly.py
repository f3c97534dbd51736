"""Makes a worker of its parts, each of parts that are whole already."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from functools import cached_property, partial
from pathlib import Path

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import Account, BackfillOptions, Settings
from orthanc_gcp.configuration.addresses import is_loopback
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.destinations.rate_limit import (
    backfill_byte_limit,
    byte_limit,
    request_limit,
)
from orthanc_gcp.custody.intake.backfill import Backfill
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
from orthanc_gcp.custody.intake.changes import Follower
from orthanc_gcp.custody.intake.dry_run import conditions
from orthanc_gcp.custody.intake.former_ledgers import FILE_NAME, note_ledger
from orthanc_gcp.custody.intake.identity import NEVER
from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.custody.intake.open_transfers import SEEN_WITHIN
from orthanc_gcp.custody.intake.protection import Protection
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.reporting.activity import Activity
from orthanc_gcp.custody.reporting.backfill_progress import studies_of
from orthanc_gcp.custody.reporting.history import History
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.problems import Problem, Problems, unread, unseen, unsent
from orthanc_gcp.custody.reporting.quarantine import counts_by_reason
from orthanc_gcp.custody.reporting.standstill import Standstill
from orthanc_gcp.custody.transfer.dispatcher import Dispatcher
from orthanc_gcp.custody.transfer.permissions import Permissions
from orthanc_gcp.custody.transfer.sender import Sender
from orthanc_gcp.custody.transfer.threads import TransferThreads
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.dicomweb import of_account
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.destinations import stores_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.postgresql_tls import weakness
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.ledger.workers import WorkerRegistry, note_served, worker_registry
from orthanc_gcp.orthanc import first_start
from orthanc_gcp.orthanc.recycling import StorageLimits
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.worker.api import Api
from orthanc_gcp.worker.attempts import DISPATCHING, FOLLOWING, Attempts
from orthanc_gcp.worker.notifications.notifier import Notifier, notifiers
from orthanc_gcp.worker.problem_log import ProblemLog
from orthanc_gcp.worker.progress import Progress
from orthanc_gcp.worker.retrieval_api import RetrievalApi
from orthanc_gcp.worker.retrieving.parts import Retrieving, retrieving_parts
from orthanc_gcp.worker.retrieving.problems import problems_of
from orthanc_gcp.worker.samples import Sample, of_backfill, of_quarantine, of_retrievals
from orthanc_gcp.worker.status import WorkerStatus
from orthanc_gcp.worker.worker import Parts, Worker

__all__ = ["assemble"]

_log = logging.getLogger(__name__)


def assemble(
    settings: Settings,
    orthanc: OrthancRest,
    name: str,
    since: float | None = None,
    *,
    sends: bool = True,
) -> Worker:
    """A worker that follows one Orthanc and sends what its rules want.

    Parameters
    ----------
    name
        Of this worker among others on the same database; the same after a restart.
    since
        When it began, in UTC seconds: what Orthanc received before its first start is not sent.
        None of a worker that Orthanc has not started.
    sends
        Whether it sends anything: not where it is there for retrievals alone, and what former
        rules have left waits for a person.

    Raises
    ------
    ConfigurationError
        Something is wrong with what says where images are, where they go, or where the ledger is.
    """
    return _Assembly(settings, orthanc, name, since, sends=sends).worker()


class _Assembly:
    """The parts of one worker, each made when it is asked for the first time.

    Of two parts that need each other, one asks for the other only when it runs.
    """

    def __init__(
        self,
        settings: Settings,
        orthanc: OrthancRest,
        name: str,
        since: float | None,
        *,
        sends: bool,
    ) -> None:
        self._settings, self._orthanc, self._name = settings, orthanc, name
        self._since, self._sends = since, sends
        self._clock = SystemClock()
        self._stopping, self._work = threading.Event(), threading.Event()
        self._progress = Progress()
        self._tokens = TokenSource(settings, self._clock)
        self._attempts = Attempts(self._clock, self._progress)
        self._accounts_of_rules = {rule.to for rule in settings.rules}

    def worker(self) -> Worker:
        self._progress.of_ledger(self._ledger.engine)
        self._orthanc.on_answer = self._progress.made
        return Worker(
            Parts(
                announcement=self._announcement(),
                ledger=self._ledger,
                registry=self._registry,
                tokens=self._tokens,
                follower=self._follower,
                backfill=self._backfill,
                permissions=self._permissions,
                dispatcher=self._dispatcher,
                threads=self._threads,
                attempts=self._attempts,
                progress=self._progress,
                problems=ProblemLog(self._needs_person, self._clock),
                history=History(self._ledger, self._status.accounts),
                api=self._api,
                notifiers=self._notifiers,
                stopping=self._stopping,
                work=self._work,
                retrieving=self._retrieving,
            )
        )

    # -- When it ends, and what it follows --------------------------------------------------------

    def _must_stop(self) -> bool:
        return self._stopping.is_set() or not self._registry.alive

    def _wait(self, seconds: float) -> bool:
        return self._stopping.wait(seconds) or not self._registry.alive

    def _followed(self) -> str:
        return self._follower.source

    # -- The ledger and Orthanc -------------------------------------------------------------------

    @cached_property
    def _ledger(self) -> Ledger:
        engine = database.connect(database.url_for(self._settings))
        ledger = Ledger(engine, stores=stores_of(self._settings))
        if weak := weakness(engine.url):
            _log.warning("the ledger at %s: %s", database.place(engine), weak)
        return ledger

    @cached_property
    def _registry(self) -> WorkerRegistry:
        return worker_registry(self._ledger.engine, self._name, self._clock)

    @cached_property
    def _source(self) -> OrthancSource:
        return OrthancSource(self._orthanc, self._settings.storage_folder)

    @cached_property
    def _protection(self) -> Protection:
        orthanc = self._settings.orthanc
        limits = StorageLimits(
            orthanc.maximum_storage_size,
            orthanc.maximum_patient_count,
            orthanc.maximum_storage_mode,
        )
        return Protection(
            self._ledger,
            self._source,
            self._clock,
            enabled=self._settings.protects,
            up_to_percent=self._settings.section.protect_up_to_percent,
            configured=limits,
        )

    # -- What is received -------------------------------------------------------------------------

    @cached_property
    def _rules(self) -> Rules:
        return Rules(self._settings.rules, self._source.attributes)

    @cached_property
    def _follower(self) -> Follower:
        is_outside, url = self._since is None, self._orthanc.url
        moments = _MomentsInFolder(self._settings.storage_folder)
        began = moments.noted(self._ledger.now()) if self._since is None else self._since
        return Follower(
            self._ledger,
            self._source,
            self._rules,
            self._clock,
            self._work.set,
            began if self._sends else NEVER,
            was_down=is_outside,
            address=_whereabouts(url, self._name) if is_outside else "",
            compare_every=self._settings.section.compare_every_seconds,
            follows=self._registry.follows,
            on_recognized=self._recognized,
            on_read=moments.note if self._sends else lambda _moment: None,
            protection=self._protection,
            on_new_studies=self._retrieving.noticed,
        )

    def _recognized(self) -> None:
        index = self._followed()
        _note_in_folder(self._settings, self._ledger, self._source, index, follows=self._sends)
        accounts = self._settings.accounts if self._sends else ()
        mine = (self._ledger.destinations.find(account.name) for account in accounts)
        note_served(self._ledger.engine, self._name, index, filter(None, mine))

    @cached_property
    def _backfill(self) -> Backfill:
        return Backfill(
            self._ledger,
            self._source,
            self._rules,
            self._settings.backfill,
            self._clock,
            self._must_stop,
            self._work.set,
            self._follower.is_index,
            self._protection.recycles,
        )

    # -- What is sent and read back ---------------------------------------------------------------

    @cached_property
    def _destinations(self) -> dict[str, Destination]:
        return {account.name: self._destination(account) for account in self._settings.accounts}

    def _destination(self, account: Account) -> Destination:
        settings, ledger, wait = self._settings, self._ledger, self._wait
        store = f"account {account.name}: its store"
        outage = Outage(_log, f"{store} cannot be used", f"{store} is used again", self._clock)
        client = partial(of_account, settings, account, self._tokens.authorization)
        return Destination(
            account=account.name,
            store=client(),
            upsert=client(upsert=True),
            congestion=CongestionWindow(self._clock, account.max_connections, outage),
            replaces=account.on_conflict == "Replace",
            verify=account.verify,
            request_limit=request_limit(account, ledger, wait),
            byte_limit=byte_limit(account, ledger, wait),
            backfill_byte_limit=backfill_byte_limit(settings.backfill, ledger, wait),
            wait=wait,
        )

    @cached_property
    def _permissions(self) -> Permissions:
        return Permissions(self._ledger, self._backfill, self._followed, self._clock)

    @cached_property
    def _sender(self) -> Sender:
        return Sender(
            self._ledger,
            self._source,
            self._destinations,
            self._tokens,
            self._clock,
            self._must_stop,
            self._attempts.orthanc_away,
            self._follower.is_index,
            may_be_recycled=self._protection.may_be_recycled,
            undone=self._follower.undone,
        )

    @cached_property
    def _threads(self) -> TransferThreads:
        return TransferThreads(
            self._sender,
            ReadBack(self._ledger, self._destinations, self._must_stop, renew=self._tokens.renew),
            {name: one.congestion.max_requests for name, one in self._destinations.items()},
            self._searches,
            self._work.set,
            slow={name for name, one in self._destinations.items() if one.verify == "Bytes"},
        )

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        accounts, backfill = self._settings.accounts, self._settings.backfill
        return Dispatcher(
            self._ledger,
            self._destinations,
            self._threads,
            self._name,
            self._clock,
            self._followed,
            self._allowed,
            {account.name: account.give_up_after_seconds for account in accounts},
            backfill.max_bytes_per_second if backfill else None,
        )

    def _allowed(self, account: str) -> Collection[Priority]:
        """What may be sent; who sends nothing asks too, as it may read back what was sent."""
        priorities = self._permissions.priorities(account)
        return priorities if self._sends else ()

    def _searches(self, account: str, lent: int) -> int:
        """How many series of an account may be read back at once."""
        if self._permissions.is_paused(account):
            return 0
        return self._destinations[account].searches(lent)

    # -- What is retrieved ------------------------------------------------------------------------

    @cached_property
    def _retrieving(self) -> Retrieving:
        conditions = Conditions(
            self._retrieved_into,
            lambda account: bool(self._permissions.priorities(account)),
            self._must_stop,
        )
        return retrieving_parts(
            self._settings,
            self._ledger,
            self._orthanc,
            self._source,
            self._destinations,
            self._tokens,
            self._clock,
            conditions,
        )

    def _retrieved_into(self) -> str:
        """Of several workers on an Orthanc, the one that follows it retrieves."""
        index = self._followed()
        return index if self._registry.follows(index) else ""

    # -- What people are told ---------------------------------------------------------------------

    def _announcement(self) -> str:
        """The line that the log has when it starts."""
        settings = self._settings
        rules = [f"{rule.to} ({conditions(rule)})" for rule in settings.rules]
        wants = f"sends to {', '.join(rules)}" if rules else "sends only what it is asked to"
        wants = wants if self._sends else "sends nothing: it retrieves what it is asked to"
        if settings.receive:
            wants += f", receives by {', '.join(rule.subscription for rule in settings.receive)}"
        if settings.prefetch:
            accounts = dict.fromkeys(rule.account for rule in settings.prefetch)
            wants += f", fetches priors from {', '.join(accounts)}"
        return (
            f"the worker {self._name} has started: it follows Orthanc at {self._orthanc.url} and "
            f"{wants}; its ledger is {database.place(self._ledger.engine)}"
        )

    @cached_property
    def _problems(self) -> Problems:
        return Problems(
            self._ledger,
            tuple(self._destinations),
            self._settings.rejections,
            sends=self._sends,
            worker=self._name,
        )

    def _needs_person(self) -> list[Problem]:
        waiting = problems_of(self._retrieving.receivers)
        return [*self._problems.found(), *self._not_done(), *waiting]

    def _not_done(self) -> list[Problem]:
        """What this worker has not been able to do for as long as its index counts as seen."""
        found = []
        if failing := self._attempts.failing(FOLLOWING, SEEN_WITHIN):
            is_own = failing.is_own or self._follower.cannot_read
            followed_by_others = "" if is_own else self._follower.known
            found = unread(self._ledger, followed_by_others, failing.since_utc, failing.words)
        if lost := self._registry.unseen(SEEN_WITHIN):  # its loops do nothing then, and do not fail
            found.append(unseen(lost.since, lost.words))
        elif not found and (failing := self._attempts.failing(DISPATCHING, SEEN_WITHIN)):
            found = [unsent(failing.since_utc, failing.words)]
        return found

    @cached_property
    def _standstill(self) -> Standstill:
        return Standstill(
            self._ledger,
            self._settings,
            lambda: self._status.problems(),
            lambda: True,
            lambda: self._clock.utc().astimezone(),
        )

    @cached_property
    def _overview(self) -> Overview:
        return Overview(self._ledger, self._standstill)

    @cached_property
    def _status(self) -> WorkerStatus:
        return WorkerStatus(
            self._overview,
            self._destinations,
            self._settings.rejections,
            self._tokens,
            self._clock,
            self._needs_person,
            lambda: self._sender.source.files.problem,
            self._retrieving.receivers,
            self._samples,
        )

    def _samples(self) -> Iterator[Sample]:
        """What is measured of a ledger beside the transfers."""
        yield from of_quarantine(counts_by_reason(self._ledger))
        yield from of_retrievals(self._ledger.retrievals.counts_by_state())
        index = self._followed()
        if not index:
            return
        studies = studies_of(BackfillStudies(self._ledger, index, self._accounts_of_rules))
        if studies is not None:
            yield from of_backfill(index, *studies)

    @cached_property
    def _api(self) -> Api:
        send = partial(
            send_on_demand,
            self._ledger,
            self._source,
            on_arrival=self._work.set,
            announce=self._dispatcher.announce,
        )
        backfill = self._settings.backfill or BackfillOptions()
        return Api(
            self._ledger,
            self._overview,
            tuple(self._destinations),
            self._status.problems,
            send,
            self._look_at_once,
            self._status.samples,
            self._needs_person,
            self._standstill,
            self._retrieval_api,
            Activity(self._ledger, self._accounts_of_rules, backfill, self._clock),
        )

    @cached_property
    def _retrieval_api(self) -> RetrievalApi:
        return RetrievalApi(
            self._ledger,
            tuple(self._destinations),
            self._followed,
            self._retrieving.work.set,
            self._retrieving.prefetcher.demand,
            self._retrieving.receivers,
        )

    def _look_at_once(self) -> None:
        self._permissions.ask_again()
        self._work.set()

    @cached_property
    def _notifiers(self) -> list[Notifier]:
        return notifiers(
            self._settings,
            self._ledger,
            self._status.accounts,
            self._attempts,
            self._clock,
            self._name,
        )


def _whereabouts(url: str, worker: str) -> str:
    """The address of Orthanc as it tells it from all others: each machine has its own loopback."""
    return f"{url} of {worker}" if is_loopback(url) else url


class _MomentsInFolder:
    """Up to which moment all was read, as is noted in Orthanc's storage folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._failed = folder, False

    def noted(self, now: float) -> float:
        """The moment that is noted, or now, in UTC seconds."""
        try:
            before = first_start.noted(self._folder, now)
        except OSError as error:
            _log.warning("%s cannot be read: %s", first_start.FILE_NAME, error.strerror)
            return now
        return now if before is None else before

    def note(self, moment: float) -> None:
        """All that was received before a moment, in UTC seconds, was read."""
        try:
            first_start.note_read(self._folder, moment)
            self._failed = False
        except OSError as error:  # an earlier moment stays: more is read than has to be
            if not self._failed:
                _log.warning("%s cannot be written: %s", first_start.FILE_NAME, error.strerror)
            self._failed = True


def _note_in_folder(
    settings: Settings, ledger: Ledger, orthanc: OrthancSource, index: str, *, follows: bool
) -> None:
    """Note in Orthanc's storage folder which ledger it has by now.

    Parameters
    ----------
    follows
        Whether what Orthanc receives is to be sent: otherwise it does not matter since when it was.
    """
    if not follows:
        try:
            first_start.forget(settings.storage_folder)
        except OSError as error:  # it is read again, and means nothing for an index that is known
            _log.warning("%s cannot be removed: %s", first_start.FILE_NAME, error.strerror)
    try:
        note_ledger(ledger, settings.storage_folder, index, orthanc.instance_count)
    except OSError as error:
        words = "a new ledger in its place would not be noticed"
        _log.warning("%s cannot be written: %s; %s", FILE_NAME, error.strerror, words)
