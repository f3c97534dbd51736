"""A store that shows nothing of what it has: its index is behind for hours, or a proxy hides it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.standstill import Standstill
from orthanc_gcp.custody.verification.read_back import TRIED_EVERY
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import Life, file_of
from tests.custody.test_stored_by_others import delete
from tests.support.keys import STORE
from tests.support.simulated_worker import ACCOUNT
from tests.support.transfers import events_of

__all__ = ["emulator", "life"]

ONE = pytest.mark.parametrize("engine", ["SQLite"], indirect=True)
FILES = [file_of(0, number, 0, number, 0) for number in range(5)]
"""Of a series each."""


@pytest.fixture
def sent(life, monkeypatch):
    """The SOP Instance UIDs of all that was sent."""
    store, found = life.workers[0]._stores[0], []
    store_all = store.store

    def storing(parts, **more):
        found.extend(part.sop_instance_uid for part in parts)
        return store_all(parts, **more)

    monkeypatch.setattr(store, "store", storing)
    return found


def receive(life: Life) -> None:
    for content in FILES:
        life.receive(life.orthancs[0].index, content)


def work(life: Life, seconds: float) -> None:
    """Let the worker work for so long."""
    end = life.clock.time + seconds
    while life.clock.time < end:
        life.clock.time += 0.6 if life.workers[0].work() else 60
    life.nothing_false()


def states(life: Life) -> set[str]:
    return {state for state, _ in life.states().values()}


def problem(life: Life) -> str | None:
    section = {
        "Accounts": {ACCOUNT: {**STORE, "ServiceAccountFile": "key.json"}},
        "Send": [{"To": ACCOUNT}],
    }
    settings = configuration.read({"GoogleCloudPlatform": section}, Path("/etc"))
    standstill = Standstill(life.ledger, settings, dict, lambda: True, lambda: datetime.now(UTC))
    (account,) = Overview(life.ledger, standstill).accounts()
    return account.problem


def test_what_is_not_shown_for_hours_is_not_sent_again_and_again(life, sent):
    """It is said, and all of it is confirmed when it is shown; what is lost is sent again then."""
    life.emulator.fault_settings.change(searchLag=3600)
    receive(life)
    work(life, 120)
    before = len(sent)
    assert before <= len(FILES) + 3, "until it is known that nothing is shown"
    for _ in range(11):
        work(life, TRIED_EVERY)
        assert problem(life) == (
            "what was sent is not seen in the store, the oldest: the store acknowledged it, and "
            "shows nothing of what was sent"
        )
    assert len(sent) - before <= 11, "one each time"
    assert len(events_of(life.ledger, "missing")) <= 3 + 11
    assert states(life) <= {"acknowledged", "delayed"}
    delete(life, FILES[-1])
    life.be_well()
    work(life, 600)
    assert states(life) == {"confirmed"}
    assert problem(life) is None


@ONE
def test_what_is_lost_is_sent_again_though_nothing_else_arrives(life):
    """The store has kept nothing for an hour; one that it keeps shows that it does again."""
    life.lie()
    receive(life)
    work(life, 3600)
    assert states(life) <= {"acknowledged", "delayed"}
    life.be_well()
    work(life, TRIED_EVERY + 600)
    assert states(life) == {"confirmed"}
