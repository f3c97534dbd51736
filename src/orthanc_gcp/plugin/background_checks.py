"""Checks of accounts: those that nobody waits for can be asked for each line as it comes.

Orthanc answers a request to a plugin as a whole, and holds one of its few threads until then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orthanc_gcp.doctor.findings import Finding

__all__ = ["AT_ONCE", "KEPT", "BackgroundChecks", "TooManyChecksError"]

_log = logging.getLogger(__name__)

AT_ONCE = 2
"""Checks that run at the same time; others are refused."""
KEPT = 600.0
"""Seconds for which the lines of one that has ended can be asked for."""


class TooManyChecksError(Exception):
    """So many run already."""


@dataclass
class _Check:
    lines: list[dict[str, Any]] = field(default_factory=list)
    passed: bool = True
    ended: float | None = None


class BackgroundChecks:
    """The last check of each account that was begun so.

    Parameters
    ----------
    monotonic
        Gives seconds that nobody sets back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Condition()
        self._checks: dict[str, _Check] = {}
        self._stopped = False

    def is_running(self, account: str) -> bool:
        """Whether one of this account has not ended."""
        with self._lock:
            found = self._checks.get(account)
            return found is not None and found.ended is None

    def begin(self, account: str, check: Callable[[], Iterable[Finding]]) -> None:
        """Begin one, unless one of this account runs.

        Parameters
        ----------
        check
            Gives its lines; called in a thread of its own.

        Raises
        ------
        TooManyChecksError
            There are :data:`AT_ONCE` of others.
        RuntimeError
            No thread can be started for it.
        """
        with self._lock:
            running = {name for name, one in self._checks.items() if one.ended is None}
            if account in running:
                return
            if len(running) >= AT_ONCE:
                raise TooManyChecksError
            self._checks[account] = begun = _Check()
        try:
            self._start(begun, check)
        except RuntimeError:  # as at a limit of tasks
            with self._lock:
                del self._checks[account]
            raise

    def wait_for(self, check: Callable[[], Iterable[Finding]]) -> list[dict[str, Any]] | None:
        """All lines of a check for which somebody waits; None if Orthanc stops before its end.

        Parameters
        ----------
        check
            Gives its lines; called in a thread of its own, which may hang.

        Raises
        ------
        RuntimeError
            No thread can be started for it.
        """
        begun = _Check()
        self._start(begun, check)
        with self._lock:
            self._lock.wait_for(lambda: begun.ended is not None or self._stopped)
            return None if begun.ended is None else begun.lines

    def _start(self, begun: _Check, check: Callable[[], Iterable[Finding]]) -> None:
        thread = threading.Thread(
            target=self._run, args=(begun, check), name="gcp-check", daemon=True
        )
        thread.start()

    def lines_of(self, account: str) -> dict[str, Any] | None:
        """What the last check of an account has found so far; None where none is known.

        ``Passed`` is None while it runs.
        """
        with self._lock:
            self._forget()
            found = self._checks.get(account)
            if found is None:
                return None
            return {
                "Account": account,
                "Running": found.ended is None,
                "Passed": None if found.ended is None else found.passed,
                "Checks": list(found.lines),
            }

    def stop(self) -> None:
        """Have those that run end with the line that they are at, and nobody wait for them."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def _run(self, check: _Check, lines: Callable[[], Iterable[Finding]]) -> None:
        try:
            for one in lines():
                self._add(check, one.as_json())
                if self._stopped:
                    break
        except Exception as error:
            kind = type(error).__name__
            _log.error("the check of an account failed unexpectedly: %s", kind)
            words = {"Cause": f"unexpected {kind}", "Remedy": "see Orthanc's log"}
            self._add(check, {"Check": "check", **words, "Result": "failed"})
        with self._lock:
            check.ended = self._monotonic()
            self._lock.notify_all()

    def _add(self, check: _Check, line: dict[str, Any]) -> None:
        with self._lock:
            check.lines.append(line)
            check.passed = check.passed and line["Result"] != "failed"

    def _forget(self) -> None:
        now = self._monotonic()
        for name, one in [*self._checks.items()]:
            if one.ended is not None and now - one.ended > KEPT:
                del self._checks[name]
