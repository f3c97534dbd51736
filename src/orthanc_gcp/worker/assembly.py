"""Makes a worker of its parts, each of parts that are whole already."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import Clock, SystemClock
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
from orthanc_gcp.custody.reporting.problems import Problem, Problems, unread, unsent
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
from orthanc_gcp.ledger.workers import note_served, worker_registry
from orthanc_gcp.orthanc import first_start
from orthanc_gcp.orthanc.recycling import StorageLimits
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.worker.api import Api
from orthanc_gcp.worker.attempts import DISPATCHING, FOLLOWING, Attempts
from orthanc_gcp.worker.notifications.notifier import notifiers
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
    clock, stopping, work = SystemClock(), threading.Event(), threading.Event()
    engine = database.connect(database.url_for(settings))
    ledger = Ledger(engine, stores=stores_of(settings))
    registry = worker_registry(engine, name, clock)
    if weak := weakness(engine.url):
        _log.warning("the ledger at %s: %s", database.place(engine), weak)
    source = OrthancSource(orthanc, settings.storage_folder)
    progress = Progress()
    progress.of_ledger(engine)
    orthanc.on_answer = progress.made
    tokens, attempts = TokenSource(settings, clock), Attempts(clock, progress)

    def must_stop() -> bool:
        return stopping.is_set() or not registry.alive

    def wait(seconds: float) -> bool:
        return stopping.wait(seconds) or not registry.alive

    destinations = {
        account.name: _destination(settings, account, ledger, tokens, clock, wait)
        for account in settings.accounts
    }
    rules = Rules(settings.rules, source.attributes)
    moments = _MomentsInFolder(settings.storage_folder)
    began = moments.noted(ledger.now()) if since is None else since
    began = began if sends else NEVER

    def followed() -> str:
        return follower.source

    def retrieved_into() -> str:
        """Of several workers on an Orthanc, the one that follows it retrieves."""
        return follower.source if registry.follows(follower.source) else ""

    retrieving = retrieving_parts(
        settings,
        ledger,
        orthanc,
        source,
        destinations,
        tokens,
        clock,
        Conditions(
            retrieved_into, lambda account: bool(permissions.priorities(account)), must_stop
        ),
    )

    def recognized() -> None:
        _note_in_folder(settings, ledger, source, follower.source, follows=sends)
        mine = (ledger.destinations.find(account.name) for account in settings.accounts)
        note_served(engine, name, follower.source, filter(None, mine) if sends else ())

    protection = _protection(settings, ledger, source, clock)
    follower = Follower(
        ledger,
        source,
        rules,
        clock,
        work.set,
        began,
        was_down=since is None,
        address=_whereabouts(orthanc.url, name) if since is None else "",
        compare_every=settings.section.compare_every_seconds,
        follows=registry.follows,
        on_recognized=recognized,
        on_read=moments.note if sends else lambda _moment: None,
        protection=protection,
        on_new_studies=retrieving.noticed,
    )
    sender = Sender(
        ledger,
        source,
        destinations,
        tokens,
        clock,
        must_stop,
        attempts.orthanc_away,
        follower.is_index,
        may_be_recycled=protection.may_be_recycled,
    )
    backfill = Backfill(
        ledger,
        source,
        rules,
        settings.backfill,
        clock,
        must_stop,
        work.set,
        follower.is_index,
    )
    permissions = Permissions(ledger, backfill, followed, clock)
    threads = TransferThreads(
        sender,
        ReadBack(ledger, destinations, must_stop),
        {account: one.congestion.max_requests for account, one in destinations.items()},
        partial(_searches, permissions, destinations),
        work.set,
    )

    dispatcher = Dispatcher(
        ledger,
        destinations,
        threads,
        name,
        clock,
        followed,
        partial(_allowed, permissions, sends),
        {account.name: account.give_up_after_seconds for account in settings.accounts},
        settings.backfill.max_bytes_per_second if settings.backfill else None,
    )

    def look_at_once() -> None:
        permissions.ask_again()
        work.set()

    standstill = Standstill(
        ledger,
        settings,
        lambda: status.problems(),
        lambda: True,
        lambda: clock.utc().astimezone(),
    )
    overview = Overview(ledger, standstill)
    found = Problems(ledger, tuple(destinations), settings.rejections, sends=sends, worker=name)

    needs_person = partial(
        _needs_person, found, partial(_of_worker, ledger, attempts, follower), retrieving
    )

    def problem_of_orthanc() -> str | None:
        return sender.source.files.problem

    status = WorkerStatus(
        overview,
        destinations,
        settings.rejections,
        tokens,
        clock,
        needs_person,
        problem_of_orthanc,
        retrieving.receivers,
        partial(_samples, ledger, {rule.to for rule in settings.rules}, followed),
    )
    api = Api(
        ledger,
        overview,
        tuple(destinations),
        status.problems,
        partial(send_on_demand, ledger, source, on_arrival=work.set, announce=dispatcher.announce),
        look_at_once,
        status.samples,
        needs_person,
        standstill,
        RetrievalApi(
            ledger,
            tuple(destinations),
            followed,
            retrieving.work.set,
            retrieving.prefetcher.demand,
            retrieving.receivers,
        ),
        Activity(
            ledger,
            {rule.to for rule in settings.rules},
            settings.backfill or BackfillOptions(),
            clock,
        ),
    )
    return Worker(
        Parts(
            announcement=_announcement(settings, orthanc, name, ledger, sends=sends),
            ledger=ledger,
            registry=registry,
            tokens=tokens,
            follower=follower,
            backfill=backfill,
            permissions=permissions,
            dispatcher=dispatcher,
            threads=threads,
            attempts=attempts,
            progress=progress,
            problems=ProblemLog(needs_person, clock),
            history=History(ledger, status.accounts),
            api=api,
            notifiers=notifiers(settings, ledger, status.accounts, attempts, clock, name),
            stopping=stopping,
            work=work,
            retrieving=retrieving,
        )
    )


def _samples(
    ledger: Ledger, accounts: Collection[str], followed: Callable[[], str]
) -> Iterator[Sample]:
    """What is measured of a ledger beside the transfers."""
    yield from of_quarantine(counts_by_reason(ledger))
    yield from of_retrievals(ledger.retrievals.counts_by_state())
    index = followed()
    studies = studies_of(BackfillStudies(ledger, index, accounts)) if index else None
    if studies is not None:
        yield from of_backfill(index, *studies)


def _of_worker(ledger: Ledger, attempts: Attempts, follower: Follower) -> list[Problem]:
    """What this worker has not been able to do for as long as its index counts as seen."""
    found = []
    if failing := attempts.failing(FOLLOWING, SEEN_WITHIN):
        followed_by_others = "" if failing.is_own else follower.known
        found = unread(ledger, followed_by_others, failing.since_utc, failing.words)
    if not found and (failing := attempts.failing(DISPATCHING, SEEN_WITHIN)):
        found = [unsent(failing.since_utc, failing.words)]
    return found


def _needs_person(
    found: Problems, of_worker: Callable[[], list[Problem]], retrieving: Retrieving
) -> list[Problem]:
    return [*found.found(), *of_worker(), *problems_of(retrieving.receivers)]


def _protection(
    settings: Settings, ledger: Ledger, orthanc: OrthancSource, clock: Clock
) -> Protection:
    limits = StorageLimits(
        settings.orthanc.maximum_storage_size,
        settings.orthanc.maximum_patient_count,
        settings.orthanc.maximum_storage_mode,
    )
    return Protection(
        ledger,
        orthanc,
        clock,
        enabled=settings.protects,
        up_to_percent=settings.section.protect_up_to_percent,
        configured=limits,
    )


def _allowed(permissions: Permissions, sends: bool, account: str) -> Collection[Priority]:
    """What may be sent; who sends nothing asks too, as it may read back what was sent before."""
    priorities = permissions.priorities(account)
    return priorities if sends else ()


def _searches(
    permissions: Permissions, destinations: Mapping[str, Destination], account: str, lent: int
) -> int:
    """How many series of an account may be read back at once."""
    return 0 if permissions.is_paused(account) else destinations[account].searches(lent)


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


def _announcement(
    settings: Settings, orthanc: OrthancRest, name: str, ledger: Ledger, *, sends: bool
) -> str:
    """The line that the log has when it starts."""
    rules = [f"{rule.to} ({conditions(rule)})" for rule in settings.rules]
    wants = f"sends to {', '.join(rules)}" if rules else "sends only what it is asked to"
    wants = wants if sends else "sends nothing: it retrieves what it is asked to"
    if settings.receive:
        wants += f", receives by {', '.join(rule.subscription for rule in settings.receive)}"
    if settings.prefetch:
        accounts = dict.fromkeys(rule.account for rule in settings.prefetch)
        wants += f", fetches priors from {', '.join(accounts)}"
    return (
        f"the worker {name} has started: it follows Orthanc at {orthanc.url} and "
        f"{wants}; its ledger is {database.place(ledger.engine)}"
    )


def _destination(
    settings: Settings,
    account: Account,
    ledger: Ledger,
    tokens: TokenSource,
    clock: Clock,
    wait: Callable[[float], bool],
) -> Destination:
    store = f"account {account.name}: its store"
    outage = Outage(_log, f"{store} cannot be used", f"{store} is used again", clock)
    return Destination(
        account=account.name,
        store=of_account(settings, account, tokens.authorization),
        upsert=of_account(settings, account, tokens.authorization, upsert=True),
        congestion=CongestionWindow(clock, account.max_connections, outage),
        replaces=account.on_conflict == "Replace",
        verify=account.verify,
        request_limit=request_limit(account, ledger, wait),
        byte_limit=byte_limit(account, ledger, wait),
        backfill_byte_limit=backfill_byte_limit(settings.backfill, ledger, wait),
        wait=wait,
    )
