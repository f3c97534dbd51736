"""Checks for which nobody waits: their lines as they come, and how many there can be."""

from __future__ import annotations

import threading

import pytest

from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.plugin.background_checks import AT_ONCE, KEPT, BackgroundChecks, TooManyChecksError
from tests.support.orthanc import wait_until
from tests.support.threads import no_thread_left

GOOD = Finding("one", Result.PASSED, "good")
BAD = Finding("two", Result.FAILED, "bad", "mend it")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def checks(clock):
    return BackgroundChecks(clock)


def ended(checks, account="a"):
    wait_until(lambda: not checks.is_running(account))
    return checks.lines_of(account)


def test_lines_come_one_by_one(checks, clock):
    go_on = threading.Event()

    def lines():
        yield GOOD
        go_on.wait(10)
        yield BAD

    assert checks.lines_of("a") is None
    checks.begin("a", lines)
    wait_until(lambda: checks.lines_of("a")["Checks"])
    assert checks.lines_of("a") == {
        "Account": "a",
        "Running": True,
        "Passed": None,
        "Checks": [GOOD.as_json()],
    }
    checks.begin("a", list)
    go_on.set()
    told = ended(checks)
    assert (told["Passed"], told["Checks"]) == (False, [GOOD.as_json(), BAD.as_json()])
    clock.now = KEPT + 1
    assert checks.lines_of("a") is None


def test_a_later_one_takes_its_place(checks):
    checks.begin("a", lambda: [BAD])
    assert ended(checks)["Passed"] is False
    checks.begin("a", lambda: [GOOD])
    assert ended(checks)["Passed"] is True


def test_there_are_not_many_at_once(checks):
    go_on = threading.Event()

    def lines():
        go_on.wait(10)
        yield GOOD

    for number in range(AT_ONCE):
        checks.begin(f"{number}", lines)
    with pytest.raises(TooManyChecksError):
        checks.begin("other", lines)
    checks.begin("0", lines)
    go_on.set()
    ended(checks, "0")
    checks.begin("other", lines)
    assert ended(checks, "other")["Passed"] is True


def test_one_that_breaks_has_failed(checks, caplog):
    def lines():
        yield GOOD
        raise ValueError("of somebody")

    checks.begin("a", lines)
    told = ended(checks)
    assert (told["Passed"], told["Checks"][1]["Cause"]) == (False, "unexpected ValueError")
    assert "of somebody" not in caplog.text + repr(told)


def test_nothing_goes_on_when_orthanc_stops(checks):
    begun, go_on = threading.Event(), threading.Event()

    def lines():
        begun.set()
        go_on.wait(10)
        yield GOOD
        pytest.fail("it goes on")

    checks.begin("a", lines)
    begun.wait(10)
    checks.stop()
    go_on.set()
    assert ended(checks)["Checks"] == [GOOD.as_json()]


def test_one_that_is_waited_for(checks):
    assert checks.wait_for(lambda: [GOOD, BAD]) == [GOOD.as_json(), BAD.as_json()]


def test_nobody_waits_for_one_when_orthanc_stops(checks):
    go_on = threading.Event()

    def lines():
        checks.stop()
        go_on.wait(30)
        yield GOOD

    assert checks.wait_for(lines) is None
    go_on.set()


def test_one_for_which_no_thread_is_left_takes_no_place(checks):
    for number in range(AT_ONCE):
        with no_thread_left(), pytest.raises(RuntimeError):
            checks.begin(f"a{number}", list)
    checks.begin("a0", lambda: [GOOD])
    assert ended(checks, "a0")["Passed"]
