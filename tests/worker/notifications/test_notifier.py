"""Each way tells all of it, whatever becomes of the other, and holds up no worker."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.reporting.counts import Amount, TransferCounts
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.worker import progress
from orthanc_gcp.worker.attempts import Attempts
from orthanc_gcp.worker.notifications import notifier as module
from orthanc_gcp.worker.notifications.notifier import notifiers
from orthanc_gcp.worker.notifications.webhook import TIMEOUT
from orthanc_gcp.worker.progress import HUNG_AFTER, ROUND, Progress
from tests.support.orthanc import free_port, wait_until
from tests.support.smtp_server import SmtpServer
from tests.support.threads import without_threads

QUARANTINED = AccountOverview("a", counts=TransferCounts(quarantined=Amount(1)))


@pytest.fixture
def server():
    server = SmtpServer()
    yield server
    server.stop()


def made(ledger, overview, watch=None, **section):
    settings = configuration.read({"GoogleCloudPlatform": section})
    attempts = Attempts(SystemClock(), watch or Progress())
    return notifiers(settings, ledger, lambda: overview, attempts, SystemClock(), "w")


def mail(server):
    address = {"Server": "127.0.0.1", "Port": server.port, "Encryption": "None"}
    return {**address, "From": "orthanc@example.org", "To": ["pacs@example.org"]}


def test_nobody_asks(ledger):
    assert made(ledger, []) == []


def test_a_webhook_that_is_away_keeps_no_mail_back(ledger, clock, server, monkeypatch):
    monkeypatch.setattr(module, "CHECK_EVERY", 0.05)
    away = f"http://127.0.0.1:{free_port()}/"
    hour = datetime.fromtimestamp(clock.now, UTC).astimezone().hour
    asked = {"Webhook": away, "Mail": mail(server), "DailySummaryHour": hour}
    running = made(ledger, [QUARANTINED], **asked)
    assert len(running) == 2
    for one in running:
        one.start()
        one.open()
    try:
        wait_until(lambda: len(server.messages) == 2, 20)
        subjects = {message["Subject"] for *_, message in server.messages}
        assert subjects == {
            "[orthanc-gcp] a: Quarantine raised",
            "[orthanc-gcp] daily summary: 0 confirmed, 0 not confirmed",
        }
    finally:
        for one in running:
            one.stop()
            one._thread.join(20)  # its connection to the ledger is closed by then


def test_after_a_restart_nothing_is_told_again(ledger, clock, server):
    hour = datetime.fromtimestamp(clock.now, UTC).astimezone().hour
    for _ in range(2):
        (one,) = made(ledger, [QUARANTINED], Mail=mail(server), DailySummaryHour=hour)
        one.open()
        for _ in range(2):
            one._check()
    assert len(server.messages) == 2


def test_where_no_thread_can_be_started_it_is_told_all_the_same(ledger, clock, server):
    """As at a limit of tasks, of which somebody has to know."""
    (one,) = made(ledger, [QUARANTINED], Mail=mail(server))
    one.open()
    with without_threads("gcp-post"):
        one._check()
    assert len(server.messages) == 1


def test_no_step_of_a_worker_is_taken_for_one_that_hangs():
    assert TIMEOUT < module.WITHIN < ROUND * HUNG_AFTER


@pytest.fixture
def watch(monkeypatch):
    """A watch of a second, and the exit codes that it has ended the process with."""
    monkeypatch.setattr(progress, "ROUND", 0.02)
    monkeypatch.setattr(progress, "HUNG_AFTER", 50)
    ended = []
    watch = Progress(ended.append)
    watch.start()
    yield watch, ended
    watch.stop()


@pytest.fixture
def name_server(monkeypatch):
    """What lets a silent name server answer."""
    answers, real = threading.Event(), socket.getaddrinfo

    def resolve(host, *more, **options):
        if host == "hook.test":
            answers.wait(30)
            host = "127.0.0.1"
        return real(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield answers
    answers.set()


def test_a_webhook_that_takes_long_to_reach_ends_no_worker(
    ledger, watch, name_server, monkeypatch, caplog
):
    monkeypatch.setattr(module, "CHECK_EVERY", 0.05)
    monkeypatch.setattr(module, "WITHIN", 0.3)
    progress, ended = watch
    progress.of_ledger(ledger.engine)
    (one,) = made(ledger, [QUARANTINED], progress, Webhook=f"http://hook.test:{free_port()}/")
    one.start()
    one.open()
    try:
        wait_until(lambda: ended or "has not answered for more than 0.3 s" in caplog.text)
    finally:
        one.stop()
        name_server.set()
        one._thread.join(20)  # its connection to the ledger is closed by then
    assert ended == []
    assert (
        "the webhook cannot be sent: the server has not answered for more than 0.3 s" in caplog.text
    )
