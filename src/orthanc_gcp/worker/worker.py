"""One worker: its loops, from its start to its end."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sql

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.custody.intake.backfill import Backfill
from orthanc_gcp.custody.intake.changes import Follower
from orthanc_gcp.custody.reporting.history import History
from orthanc_gcp.custody.signatures.signing_key import NoSigningKeyError, public_key
from orthanc_gcp.custody.transfer.dispatcher import Dispatcher
from orthanc_gcp.custody.transfer.permissions import Permissions
from orthanc_gcp.custody.transfer.threads import TransferThreads
from orthanc_gcp.errors import LedgerError
from orthanc_gcp.ledger.damage import quarantine_damaged
from orthanc_gcp.ledger.database import make_private
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.ledger.workers import WorkerRegistry
from orthanc_gcp.retrieval.receive.receiver import Receiver
from orthanc_gcp.worker.api import Api
from orthanc_gcp.worker.attempts import BACKOFF, DISPATCHING, FOLLOWING, IDLE, Attempts
from orthanc_gcp.worker.listener import Listener
from orthanc_gcp.worker.notifications.notifier import Notifier
from orthanc_gcp.worker.problem_log import CHECK_EVERY, ProblemLog
from orthanc_gcp.worker.progress import Progress
from orthanc_gcp.worker.retrieving.parts import Retrieving
from orthanc_gcp.worker.stores import register_stores

__all__ = ["Parts", "Worker"]

_log = logging.getLogger(__name__)

ACTIVE, CALMING = 0.05, 1.02
"""Seconds between two pages of Orthanc's changes while something comes, and how much more at each
page with nothing: between the instances of a study there are gaps."""
REFRESH_EVERY = 1.0
"""Seconds after which the locks of the workers are looked at again."""
DEMANDS_EVERY = 2.0
"""Seconds between two looks whether somebody wants priors, where no rule does."""
HISTORY_EVERY = 30.0
"""Seconds between two looks whether a step of the history has begun."""
TOGETHER = 0.02
"""Seconds within which what has been retrieved is one step: it costs about as much as one of them.
"""
REST_WITHIN = 5
"""Seconds that requests have to break off when the worker stops."""


@dataclass(frozen=True)
class Parts:
    """What a worker is made of.

    Attributes
    ----------
    announcement
        The line that the log has when it starts.
    stopping
        Set when the worker is to end.
    work
        Set when there may be something to send.
    """

    announcement: str
    ledger: Ledger
    registry: WorkerRegistry
    tokens: TokenSource
    follower: Follower
    backfill: Backfill
    permissions: Permissions
    dispatcher: Dispatcher
    threads: TransferThreads
    attempts: Attempts
    progress: Progress
    problems: ProblemLog
    history: History
    api: Api
    notifiers: Sequence[Notifier]
    stopping: threading.Event
    work: threading.Event
    retrieving: Retrieving


class Worker:
    """Follows one Orthanc and sends what its rules want, until it is stopped.

    See :func:`orthanc_gcp.worker.assembly.assemble`.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts, self._attempts = parts, parts.attempts
        self._stopping = parts.stopping
        self._listener: Listener | None = None
        self._failure: LedgerError | None = None

    def listen(self, secret: str, at: socket.socket) -> None:
        """Offer the API to those who know the secret, from :meth:`run` on.

        Until the ledger is there, it answers only that the process does.

        Parameters
        ----------
        at
            A socket that listens; it is closed when the worker ends.
        """
        self._listener = Listener(self._parts.api.application(secret), at)

    def run(self) -> None:
        """Work until :meth:`stop`.

        Raises
        ------
        LedgerError
            Another worker has the database, or the same name; or the ledger cannot be used, or was
            replaced meanwhile.
        """
        if self._listener is not None:
            self._listener.start()
        self._parts.tokens.start()  # while the ledger is prepared: nothing is sent without one
        try:
            for notifier in self._parts.notifiers:
                notifier.start()
            if self._join():
                _log.warning("%s", self._parts.announcement)
                self._parts.api.open()
                self._work()
            if self._failure is not None:
                raise self._failure
        finally:
            self._parts.tokens.stop()
            for notifier in self._parts.notifiers:
                notifier.stop()
            if self._listener is not None:
                self._listener.stop()

    def stop(self) -> None:
        """End :meth:`run`, from any thread or a signal handler."""
        self._stopping.set()
        self._parts.work.set()
        self._parts.retrieving.work.set()

    def _join(self) -> bool:
        """Prepare the ledger, however long it is away; False when the worker stops before."""
        pause, joined = IDLE, False
        while not self._stopping.is_set():
            try:
                if not joined:
                    make_private(self._parts.ledger.engine)
                    self._parts.registry.reserve()
                    prepare(self._parts.ledger.engine)
                    quarantine_damaged(self._parts.ledger.engine)
                    self._have_signing_key()
                    self._parts.registry.join()
                    joined = True
                register_stores(self._parts.ledger)
            except LedgerError:
                self._parts.registry.leave()
                raise
            except sql.exc.SQLAlchemyError as error:  # whatever it is, it may pass, as later on
                pause = BACKOFF.after(pause)
                self._attempts.ledger_away(error, pause, by="start")
                for notifier in self._parts.notifiers:
                    notifier.ledger_away(error)
                self._stopping.wait(pause)
            else:
                self._attempts.ledger.ended(by="start")
                return True
        return False

    def _have_signing_key(self) -> None:
        """Make it now: whoever may only read the ledger cannot, and has its receipts signed too."""
        try:
            public_key(self._parts.ledger)
        except NoSigningKeyError as error:
            _log.warning("receipts are not signed: %s", error)

    def _work(self) -> None:
        parts = self._parts
        parts.progress.start()
        beside: list[Notifier | Listener] = [*parts.notifiers]
        if self._listener is not None:
            beside.append(self._listener)
        for notifier in parts.notifiers:
            notifier.open()
        loops = [
            threading.Thread(target=loop, name=f"gcp-{loop.__name__.strip('_')}")
            for loop in (
                self._follow,
                self._backfill,
                self._retrieve,
                self._watch_others,
                self._report,
                self._note_history,
            )
        ]
        # What waits for Pub/Sub is not waited for: a message that is not acknowledged comes again.
        apart: list[Callable[[], None]] = [self._receive]
        apart += [partial(self._pull, one) for one in parts.retrieving.receivers]
        for each in apart:
            threading.Thread(target=each, name="gcp-receive", daemon=True).start()
        for thread in loops:
            thread.start()
        try:
            self._dispatch()
        finally:
            self.stop()
            parts.tokens.stop()  # nobody is to wait for one
            for thread in loops:
                thread.join()
            rests = parts.threads.rest(REST_WITHIN) and parts.retrieving.retriever.rest(REST_WITHIN)
            if rests:
                parts.registry.leave()  # first: Orthanc does not wait for what follows
            parts.progress.stop()
            for one in beside:
                one.stop()
            parts.threads.stop()
            parts.retrieving.stop()
            if not rests:
                parts.registry.leave()
            parts.ledger.engine.dispose()

    # -- The loops ------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            pause = self._attempts.make(DISPATCHING, self._dispatch_once, pause, (0.0, IDLE))
            self._parts.work.wait(pause)
            self._parts.work.clear()

    def _dispatch_once(self) -> bool:
        if self._attempts.ledger.active:
            # A step that asks nothing would not show that it is back.
            self._parts.permissions.ask_again()
        # Others may have taken over what it had: nothing is begun until they see it again.
        return self._parts.registry.alive and self._parts.dispatcher.step()

    def _follow(self) -> None:
        pause = 0.0  # nothing is sent until it is known which Orthanc this is
        while not self._stopping.wait(pause):
            step = self._parts.follower.step  # of several workers on an Orthanc one follows it
            calm = min(IDLE, max(ACTIVE, CALMING * pause))
            pause = self._attempts.make(FOLLOWING, step, pause, (ACTIVE, calm))

    def _backfill(self) -> None:
        pause = IDLE
        while not self._stopping.wait(pause):
            pause = self._attempts.make("backfill", self._backfill_if_mine, pause, (0.0, IDLE))

    def _backfill_if_mine(self) -> bool:
        """The worker that follows an Orthanc also does its backfill."""
        source = self._parts.follower.source
        return self._parts.registry.follows(source) and self._parts.backfill.step(source)

    def _retrieve(self) -> None:
        pause, step = 0.0, self._parts.retrieving.retriever.step
        while not self._stopping.is_set():
            pause = self._attempts.make("retrieve", step, pause, (0.0, IDLE))
            self._parts.retrieving.work.wait(pause)
            self._stopping.wait(TOGETHER)
            self._parts.retrieving.work.clear()

    def _pull(self, receiver: Receiver) -> None:
        pause, what = IDLE, f"pull {receiver.rule.subscription}"
        while not self._stopping.wait(pause):
            idle = 0.0, IDLE
            pause = self._attempts.make(what, receiver.pull, pause, idle, in_network=True)

    def _receive(self) -> None:
        """Acknowledge what has come, and look for priors."""
        parts = self._parts.retrieving
        steps = {f"receive {one.rule.subscription}": one.step for one in parts.receivers}
        steps["prefetch"] = parts.prefetcher.step
        calm = IDLE if parts.receivers or parts.prefetcher.has_rules else DEMANDS_EVERY
        pauses = dict.fromkeys(steps, IDLE)
        while not self._stopping.wait(min(pauses.values())):
            for what, step in steps.items():
                pauses[what] = self._attempts.make(
                    what, step, pauses[what], (ACTIVE, calm), in_network=True
                )

    def _watch_others(self) -> None:
        pause, both = REFRESH_EVERY, (REFRESH_EVERY, REFRESH_EVERY)
        while not self._stopping.wait(pause):
            pause = self._attempts.make("take over", self._requeue_claims_of_the_dead, pause, both)

    def _report(self) -> None:
        pause, both = IDLE, (CHECK_EVERY, CHECK_EVERY)
        report = self._parts.problems.report
        while not self._stopping.wait(pause):
            pause = self._attempts.make("report problems", report, pause, both)

    def _note_history(self) -> None:
        pause, both, note = IDLE, (HISTORY_EVERY, HISTORY_EVERY), self._parts.history.note
        while not self._stopping.wait(pause):
            pause = self._attempts.make("note history", note, pause, both)

    def _requeue_claims_of_the_dead(self) -> bool:
        parts = self._parts
        idle = parts.threads.rest(0)
        try:
            found = parts.registry.refresh(parts.follower.candidate, may_join=idle)
        except LedgerError as error:
            self._failure = error
            self.stop()
            return False
        for dead in found:
            _log.warning("worker %s has died: what it was sending is taken over", dead)
            parts.ledger.queue.requeue_claims_of(dead)
            parts.registry.remove(dead)
            parts.work.set()
        return True
