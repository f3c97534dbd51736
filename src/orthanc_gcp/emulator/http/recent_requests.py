"""The last requests, for the web page."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from orthanc_gcp.emulator.http.shown_headers import shown_headers

__all__ = ["NO_STATUS", "RecentRequest", "RecentRequests"]

NO_STATUS = 0
"""Stands for the status of an answer that was never given."""

_MAX_REQUESTS = 200
_MAX_PATH = 300

Headers = Sequence[tuple[bytes, bytes]]


class RecentRequest(NamedTuple):
    """A request that has been answered: without its query, in which a patient may be named.

    ``time`` is when the answer ended, in seconds since 1970; ``number`` counts from 1; ``sent`` and
    ``answered`` are the headers of request and answer as they are.
    """

    number: int
    time: float
    method: str
    path: str
    status: int
    seconds: float
    sent: Headers
    answered: Headers

    def as_json(self) -> dict[str, Any]:
        """Return what a list shows of it, its path cut when it is long."""
        path = self.path if len(self.path) <= _MAX_PATH else f"{self.path[:_MAX_PATH]}…"
        return {
            "number": self.number,
            "time": self.time,
            "method": self.method,
            "path": path,
            "status": self.status,
            "milliseconds": round(self.seconds * 1000, 1),
        }

    def head(self) -> dict[str, Any]:
        """Return its headers and those of the answer, without secrets."""
        return {"request": shown_headers(self.sent), "answer": shown_headers(self.answered)}


class RecentRequests:
    """The last few requests; for one thread, the server's.

    It costs less than a microsecond to add one: what is shown of it is made when somebody looks.
    The head of each is as large as the protocol allows at most.
    """

    def __init__(self) -> None:
        self._requests: deque[RecentRequest] = deque(maxlen=_MAX_REQUESTS)
        self._count = 0

    def add(
        self,
        method: str,
        path: str,
        status: int,
        seconds: float,
        sent: Headers = (),
        answered: Headers = (),
    ) -> None:
        """Add a request whose answer took some seconds, and has ended now."""
        self._count += 1
        self._requests.append(
            RecentRequest(self._count, time.time(), method, path, status, seconds, sent, answered)
        )

    def as_json(self) -> list[dict[str, Any]]:
        """Return them all, the last one first."""
        return [request.as_json() for request in reversed(self._requests)]

    def find(self, number: int) -> RecentRequest | None:
        """Return one by its number, as long as it is there."""
        return next((one for one in self._requests if one.number == number), None)
