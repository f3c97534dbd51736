"""Tells somebody of alarms and of each day, on one way, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Settings
from orthanc_gcp.custody.reporting.alerts import Alerts
from orthanc_gcp.custody.reporting.daily_summary import DailySummary
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.errors import NetworkError
from orthanc_gcp.ledger.database import words_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import NetworkFault
from orthanc_gcp.worker.attempts import Attempts
from orthanc_gcp.worker.notifications.ledger_alarm import LedgerAlarm
from orthanc_gcp.worker.notifications.mail import Mail
from orthanc_gcp.worker.notifications.webhook import Webhook

__all__ = ["Notifier", "Posting", "notifiers"]

_log = logging.getLogger(__name__)

CHECK_EVERY = 3.0
"""Seconds between two checks whether there is something to send."""
WITHIN = 35.0
"""Seconds that a document may take, whatever its host does; fewer than a step of a worker may."""

Post = Callable[[str, bytes], None]
"""Sends a JSON document under an id; raises GcpError when it was not taken."""
Overview = Callable[[], Iterable[AccountOverview]]
"""How far each account is."""

_STORED_AS = {"webhook": "alerts", "e-mail": "alerts-by-mail"}
"""By each way: under which name the ledger has what was reported."""


@dataclass(frozen=True)
class _Posted:
    """A document on its way, and what became of it, as soon as that is known."""

    identifier: str
    thread: threading.Thread
    outcome: Sequence[Exception | None]

    def was_taken(self, identifier: str) -> bool:
        """Whether it is this one, and was taken."""
        return self.identifier == identifier and list(self.outcome) == [None]


class Posting:
    """Posts one document at a time, and waits for none for ever.

    Each wait of a request has its time limit, but not all of them together, and that for a name
    server has none: what takes too long is left behind on a thread of its own.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._running: _Posted | None = None

    def post(self, identifier: str, document: bytes) -> None:
        """Post a document under an id.

        Raises
        ------
        GcpError
            It was not taken, or not within its time.
        """
        before = self._running
        if before is not None and before.thread.is_alive():
            raise _unanswered()
        if before is not None and before.was_taken(identifier):
            return  # when nobody waited any more
        outcome: list[Exception | None] = []
        thread = threading.Thread(
            target=lambda: outcome.append(self._error_of(identifier, document)),
            name="gcp-post",
            daemon=True,
        )
        self._running = _Posted(identifier, thread, outcome)
        try:
            thread.start()
        except RuntimeError:  # as at a limit of tasks, of which somebody is to be told
            thread.run()
        else:
            thread.join(WITHIN)
        if not outcome:
            raise _unanswered()
        if outcome[0] is not None:
            raise outcome[0]

    def _error_of(self, identifier: str, document: bytes) -> Exception | None:
        try:
            self._post(identifier, document)
        except Exception as error:  # a thread has nobody else who would see it
            return error
        return None


def _unanswered() -> NetworkError:
    words = f"the server has not answered for more than {WITHIN:g} s"
    return NetworkError(words, fault=NetworkFault.TIMEOUT)


class Notifier:
    """Reports what changes in the overview, and what a day was like.

    Parameters
    ----------
    name
        Of the way: ``webhook`` or ``e-mail``.
    worker
        The name of this worker among others on the ledger.
    """

    def __init__(
        self,
        name: str,
        post: Post,
        settings: Settings,
        ledger: Ledger,
        overview: Overview,
        attempts: Attempts,
        clock: Clock,
        worker: str,
    ) -> None:
        self._name, self._overview, self._attempts = name, overview, attempts
        section = settings.section
        outage = Outage(_log, f"the {name} cannot be sent", f"the {name} is sent again", clock)
        stored_as, age = _STORED_AS[name], section.webhook_backlog_age_seconds
        self._alerts = Alerts(ledger, age, post, outage, stored_as, worker)
        self._ledger_alarm = LedgerAlarm(post, outage, clock)
        self._summary = None
        accounts = [one.name for one in settings.accounts]
        self._known = [AccountOverview(account) for account in accounts]
        if section.daily_summary_hour is not None:
            self._summary = DailySummary(
                ledger, accounts, section.daily_summary_hour, post, outage, name
            )
        self._is_open = False
        self._away: SQLAlchemyError | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"gcp-{name}", daemon=True)

    def start(self) -> None:
        """Tell from now on when the ledger is away, as :meth:`ledger_away` says it."""
        self._thread.start()

    def ledger_away(self, error: SQLAlchemyError) -> None:
        """The worker could not begin just now, for want of its ledger."""
        self._away = error

    def open(self) -> None:
        """Report from now on: the ledger is there."""
        self._is_open = True

    def stop(self) -> None:
        """Report no more; a request that hangs is left behind."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(CHECK_EVERY):
            self._attempts.make(f"send the {self._name}", self._check, CHECK_EVERY, (0.0, 0.0))

    def _check(self) -> bool:
        if not self._is_open:
            error, self._away = self._away, None
            if error is not None:
                self._ledger_alarm.failed(self._known, words_of(error))
            return True
        try:
            self._known = list(self._overview())
            self._alerts.report_changes(self._known)
            if self._summary is not None:
                self._summary.send_if_due()
        except SQLAlchemyError as error:
            self._ledger_alarm.failed(self._known, words_of(error))
            raise
        self._ledger_alarm.works(self._known)
        return True


def notifiers(
    settings: Settings,
    ledger: Ledger,
    overview: Overview,
    attempts: Attempts,
    clock: Clock,
    worker: str,
) -> list[Notifier]:
    """One for each way that the configuration names.

    Parameters
    ----------
    worker
        The name of this worker among others on the ledger.
    """
    posts: dict[str, Post] = {}
    if settings.section.webhook:
        posts["webhook"] = Webhook(settings, clock).post
    if settings.mail is not None:
        posts["e-mail"] = Mail(settings, settings.mail, clock).post
    return [
        Notifier(name, Posting(post).post, settings, ledger, overview, attempts, clock, worker)
        for name, post in posts.items()
    ]
