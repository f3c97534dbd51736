"""Each way tells all of it, whatever becomes of the other."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.reporting.counts import Amount, TransferCounts
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.worker.attempts import Attempts
from orthanc_gcp.worker.notifications import notifier as module
from orthanc_gcp.worker.notifications.notifier import notifiers
from orthanc_gcp.worker.progress import Progress
from tests.support.orthanc import free_port, wait_until
from tests.support.smtp_server import SmtpServer


@pytest.fixture
def server():
    server = SmtpServer()
    yield server
    server.stop()


def made(ledger, overview, **section):
    settings = configuration.read({"GoogleCloudPlatform": section})
    attempts = Attempts(SystemClock(), Progress())
    return notifiers(settings, ledger, lambda: overview, attempts, SystemClock(), "w")


def mail(server):
    address = {"Server": "127.0.0.1", "Port": server.port, "Encryption": "None"}
    return {**address, "From": "orthanc@example.org", "To": ["pacs@example.org"]}


def test_nobody_asks(ledger):
    assert made(ledger, []) == []


def test_a_webhook_that_is_away_keeps_no_mail_back(ledger, clock, server, monkeypatch):
    monkeypatch.setattr(module, "CHECK_EVERY", 0.05)
    quarantined = AccountOverview("a", counts=TransferCounts(quarantined=Amount(1)))
    away = f"http://127.0.0.1:{free_port()}/"
    hour = datetime.fromtimestamp(clock.now, UTC).astimezone().hour
    asked = {"Webhook": away, "Mail": mail(server), "DailySummaryHour": hour}
    running = made(ledger, [quarantined], **asked)
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
    quarantined = AccountOverview("a", counts=TransferCounts(quarantined=Amount(1)))
    for _ in range(2):
        (one,) = made(ledger, [quarantined], Mail=mail(server), DailySummaryHour=hour)
        one.open()
        for _ in range(2):
            one._check()
    assert len(server.messages) == 2
