"""The checks of a group: one line each, whatever happens inside them."""

from __future__ import annotations

import pytest

from orthanc_gcp.doctor.checks import (
    Check,
    CheckFailedError,
    NotApplicableError,
    UnknownError,
    WarningError,
    run_checks,
)
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.errors import StoreError


def raising(error: Exception):
    def check(_: object) -> str:
        raise error

    return check


def results(*checks: Check[str]) -> list[tuple[str, Result]]:
    return [(one.check, one.result) for one in run_checks(checks, "x", lambda error: "try again")]


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (CheckFailedError("c", "r"), Finding("A", Result.FAILED, "c", "r")),
        (WarningError("c", "r"), Finding("A", Result.WARNING, "c", "r")),
        (UnknownError("c", "r"), Finding("A", Result.UNKNOWN, "c", "r")),
        (NotApplicableError("c"), Finding("A", Result.SKIPPED, "c")),
        (StoreError("c", reason="http_503"), Finding("A", Result.FAILED, "c", "of http_503")),
    ],
)
def test_what_a_check_raises_is_its_line(error, finding):
    checks = [Check[str]("A", raising(error))]
    assert list(run_checks(checks, "x", lambda error: f"of {error.reason}")) == [finding]


def test_what_a_check_returns_is_its_cause():
    checks = [Check[str]("A", lambda subject: f"{subject} is there")]
    assert list(run_checks(checks, "x", str)) == [Finding("A", Result.PASSED, "x is there")]


def test_what_makes_no_sense_after_a_failure_is_not_tried():
    found = list(
        run_checks(
            [
                Check[str]("A", raising(CheckFailedError("c", "r"))),
                Check[str]("B", raising(AssertionError("it was tried")), needs_all=True),
                Check[str]("C", lambda _: "fine"),
            ],
            "x",
            str,
        )
    )
    assert [one.result for one in found] == [Result.FAILED, Result.SKIPPED, Result.PASSED]
    assert found[1].cause == "not tried, since the check of A failed"


@pytest.mark.parametrize(
    "error",
    [CheckFailedError("c", "r", fatal=False), WarningError("c", "r"), UnknownError("c", "r")],
)
def test_what_is_not_fatal_stops_nothing(error):
    checks = (Check[str]("A", raising(error)), Check[str]("B", lambda _: "b", needs_all=True))
    assert results(*checks)[1] == ("B", Result.PASSED)


def test_an_error_that_nobody_foresaw_is_a_line_too():
    checks = (
        Check[str]("A", raising(ZeroDivisionError("division by zero"))),
        Check[str]("B", lambda _: "b", needs_all=True),
    )
    assert results(*checks) == [("A", Result.FAILED), ("B", Result.SKIPPED)]
