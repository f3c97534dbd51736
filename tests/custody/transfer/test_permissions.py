"""What people have paused, and the hours of the backfill."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.reporting.operations import pause, resume
from orthanc_gcp.custody.transfer.permissions import ASK_EVERY, Permissions
from orthanc_gcp.ledger.schema import Priority
from tests.support.simulation import FakeClock


class Hours:
    """A backfill that is open or not."""

    open = True

    def is_open(self, source: str) -> bool:
        assert source == "o"
        return self.open


@pytest.fixture
def hours():
    return Hours()


@pytest.fixture
def steady():
    return FakeClock()


@pytest.fixture
def permissions(ledger, hours, steady):
    return Permissions(ledger, hours, lambda: "o", steady)


def test_everything_may_be_sent_in_the_hours_of_the_backfill(permissions, hours):
    assert set(permissions.priorities("a")) == set(Priority)
    hours.open = False
    assert set(permissions.priorities("a")) == {Priority.LIVE, Priority.DEMANDED}


def test_nothing_is_sent_to_an_account_that_is_paused(permissions, ledger):
    pause(ledger, "a")
    assert permissions.priorities("a") == ()
    assert permissions.priorities("b")
    assert permissions.is_paused("a") and not permissions.is_paused("b")


def test_the_ledger_is_asked_now_and_then_or_at_once(permissions, ledger, steady):
    assert permissions.priorities("a")
    pause(ledger, "a")
    assert permissions.priorities("a"), "it was asked a moment ago"
    steady.time += ASK_EVERY + 0.1
    assert permissions.priorities("a") == ()
    resume(ledger, "a")
    permissions.ask_again()
    assert permissions.priorities("a")
