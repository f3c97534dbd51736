"""How the checks of a group are run: one line each, whatever goes wrong inside it.

A check ends by returning its cause, or by raising one of the errors below; any other error is a
failure, too, with the remedy that its group knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orthanc_gcp.auth.refresher import as_error
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.errors import GcpError

__all__ = [
    "Check",
    "CheckFailedError",
    "NotApplicableError",
    "UnknownError",
    "WarningError",
    "run_checks",
]

Subject = TypeVar("Subject")


class CheckFailedError(Exception):
    """A check failed: its cause, its remedy, and whether the next ones make sense."""

    def __init__(self, cause: str, remedy: str, *, fatal: bool = True) -> None:
        super().__init__(cause)
        self.remedy = remedy
        self.fatal = fatal


class NotApplicableError(Exception):
    """There is nothing to check here, and nothing is wrong with that."""


class UnknownError(Exception):
    """What ought to be checked cannot be checked: why, and what to do about it."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


class WarningError(Exception):
    """It works, and somebody should know what may come of it: what, and what to do about it."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """One line of a group.

    Attributes
    ----------
    title : str
        What is checked.
    run : callable
        Subject -> what was found; raises one of the errors above, or a GcpError.
    needs_all : bool
        Whether it makes sense only when no check before it has failed.
    """

    title: str
    run: Callable[[Subject], str]
    needs_all: bool = False


def run_checks(
    checks: Sequence[Check[Subject]], subject: Subject, remedy: Callable[[GcpError], str]
) -> Iterator[Finding]:
    """Each check's finding, in order.

    Parameters
    ----------
    remedy
        The remedy of an error that a check did not expect.
    """
    failed = ""
    for check in checks:
        if check.needs_all and failed:
            cause = f"not tried, since the check of {failed} failed"
            yield Finding(check.title, Result.SKIPPED, cause)
            continue
        try:
            yield Finding(check.title, Result.PASSED, check.run(subject))
        except NotApplicableError as reason:
            yield Finding(check.title, Result.SKIPPED, str(reason))
        except UnknownError as unknown:
            yield Finding(check.title, Result.UNKNOWN, str(unknown), unknown.remedy)
        except WarningError as warning:
            yield Finding(check.title, Result.WARNING, str(warning), warning.remedy)
        except CheckFailedError as failure:
            failed = failed or (check.title if failure.fatal else "")
            yield Finding(check.title, Result.FAILED, str(failure), failure.remedy)
        except Exception as error:
            failed = failed or check.title
            ours = as_error(error)
            yield Finding(check.title, Result.FAILED, str(ours), remedy(ours))
