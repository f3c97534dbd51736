"""The tokens of Orthanc's connector, asked for beside what waits for nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from orthanc_gcp.errors import ConfigurationError, OrthancError

if TYPE_CHECKING:
    from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["Tokens", "token_of"]

EVERY = 5.0
"""Seconds between two questions."""
_MOST = 1000
"""Accounts that are shown at most."""


class Tokens:
    """What Orthanc says of the tokens of all accounts.

    Parameters
    ----------
    connect
        The Orthanc to ask; raises ConfigurationError where it cannot be asked.

    Attributes
    ----------
    found
        Those of the last answer: of each account its state, its identity, the seconds that the
        token is good for, and the last error; None while there is no answer.
    problem
        Why there is none.
    """

    def __init__(self, connect: Callable[[], OrthancRest]) -> None:
        self._connect = connect
        self.found: list[dict[str, Any]] | None = None
        self.problem = "Orthanc has not answered yet"

    def ask(self) -> None:
        """Ask once; what is not known after it has a problem that says why."""
        try:
            status, answer = self._connect().answer("GET", "/gcp/accounts")
        except (ConfigurationError, OrthancError) as error:
            self.found, self.problem = None, str(error)
            return
        if status != HTTPStatus.OK or not isinstance(answer, list):
            self.found, self.problem = None, "Orthanc does not have the plugin, or it has ended"
            return
        told = [token_of(one) for one in answer[:_MOST] if isinstance(one, dict)]
        self.found, self.problem = told, ""

    @contextmanager
    def asked_again(self) -> Iterator[None]:
        """Have them asked for all the time, by a thread: Orthanc may take its time to answer."""
        ended = threading.Event()

        def run() -> None:
            while not ended.is_set():
                self.ask()
                ended.wait(EVERY)

        threading.Thread(target=run, name="gcp-tokens", daemon=True).start()
        try:
            yield
        finally:
            ended.set()  # a question that hangs is left behind


def token_of(answer: dict[str, Any]) -> dict[str, Any]:
    """What is shown of one account, whatever its fields are."""
    error = answer.get("LastError")
    said = error.get("Message") if isinstance(error, dict) else None
    left = answer.get("SecondsToExpiry")
    return {
        "Account": _text(answer.get("Name")) or "",
        "State": _text(answer.get("State")),
        "Identity": _text(answer.get("Identity")),
        "SecondsToExpiry": _seconds(left),
        "NextTry": _text(answer.get("NextTry")),
        "Problem": _text(said),
    }


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(0.0, float(value)) if is_number else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
