"""``--wait`` ends when all has ended, and on Ctrl-C says how far it came."""

from __future__ import annotations

import os
import signal
import threading

import click
import pytest

from orthanc_gcp.commands.live import following as module
from orthanc_gcp.commands.live import progress
from orthanc_gcp.commands.live.following import exit_code, follow, words_of_end
from orthanc_gcp.custody.reporting.followed import rows_of
from orthanc_gcp.ledger.schema import State
from tests.support.transfers import arrive, confirm, settle


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.02)
    monkeypatch.setattr(progress, "EVERY", 0.0)


def queued(ledger, count):
    arrive(ledger, count, study="1")
    return rows_of(ledger, "a", "o", [f"1-{n}" for n in range(count)])


def test_until_all_has_ended(ledger, capsys):
    rows = queued(ledger, 3)
    worker = threading.Timer(0.3, confirm, [ledger])
    settle(ledger, State.QUARANTINED, 1, reason="invalid", detail="no DICOM")
    worker.start()
    followed = follow(ledger, rows, lambda _: "its turn", quiet=False)
    worker.join()
    assert exit_code(followed) == 1
    assert list(words_of_end(followed)) == [
        "2 of 3 instances confirmed, 1 quarantined",
        "  quarantined 1.1.0 of study 1  invalid: no DICOM",
    ]
    assert "0 of 3 instances confirmed, 1 quarantined\n" in capsys.readouterr().err


def test_why_it_stands_still(ledger, monkeypatch, capsys):
    monkeypatch.setattr(module, "STILL_AFTER", 0.0)
    rows = queued(ledger, 1)
    asked = []

    def why(row):
        asked.append(row)
        confirm(ledger)
        return "the account is paused"

    followed = follow(ledger, rows, why, quiet=False)
    assert exit_code(followed) == 0
    assert asked == rows
    said = "0 of 1 instance confirmed, waits: the account is paused\n"
    assert capsys.readouterr().err == said


def test_nothing_is_over_at_once(ledger):
    followed = follow(ledger, [], lambda _: None, quiet=True)
    assert exit_code(followed) == 0
    assert list(words_of_end(followed)) == ["0 of 0 instances confirmed"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_broken_off(ledger, number, capsys):
    rows = queued(ledger, 2)
    settle(ledger, State.WITHDRAWN, 1, reason="deleted")
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    with pytest.raises(click.exceptions.Exit) as ended:
        follow(ledger, rows, lambda _: None, quiet=True)
    assert ended.value.exit_code == 130
    said = capsys.readouterr().err
    assert said.startswith("broken off: 0 of 2 instances confirmed, 1 withdrawn; what is queued")
