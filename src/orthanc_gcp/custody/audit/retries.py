"""Questions that are asked again, where the answer may be another one later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.errors import GcpError

__all__ = ["MOST_TRIES", "PERSISTENT_AFTER", "Retries"]

MOST_TRIES = 6
"""So often something is asked until it counts as not answered."""
PERSISTENT_AFTER = 3
"""After so many in a row that were not answered, the next are asked once each."""
_BACKOFF = Backoff(1.0, 30.0)

Answer = TypeVar("Answer")


class Retries:
    """The questions to one server.

    Parameters
    ----------
    wait
        Sleeps for some seconds; True says that the audit is to end.
    before
        Called before each try.
    """

    def __init__(
        self, wait: Callable[[float], bool], before: Callable[[], object] = lambda: None
    ) -> None:
        self._wait, self._before = wait, before
        self._unanswered = 0

    def ask(
        self,
        question: Callable[[], Answer],
        pause: Callable[[GcpError], float | None],
    ) -> Answer:
        """The answer to a question, which is asked again if need be.

        Parameters
        ----------
        pause
            After how many seconds one may be asked again that failed so: 0 for those of the usual
            backoff, None for never.

        Raises
        ------
        GcpError
            What the question raises, when it is not to be asked again.
        """
        most = MOST_TRIES if self._unanswered < PERSISTENT_AFTER else 1
        for number in range(1, most + 1):
            self._before()
            try:
                answer = question()
            except GcpError as error:
                seconds = pause(error)
                if number == most or seconds is None:
                    self._unanswered += seconds is not None
                    raise
                if self._wait(seconds or _BACKOFF.delay(number)):
                    raise
            else:
                self._unanswered = 0
                return answer
        raise AssertionError("unreachable")
