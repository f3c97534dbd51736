"""The last requests, for the web page."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

__all__ = ["NO_STATUS", "RecentRequest", "RecentRequests"]

NO_STATUS = 0
"""Stands for the status of an answer that was never given."""

_MAX_REQUESTS = 200
_MAX_PATH = 300


class RecentRequest(NamedTuple):
    """A request that has been answered: without its query, in which a patient may be named.

    ``time`` is when the answer ended, in seconds since 1970; ``number`` counts from 1.
    """

    number: int
    time: float
    method: str
    path: str
    status: int
    milliseconds: float


class RecentRequests:
    """The last few requests. It costs a microsecond to add one, and paths are cut."""

    def __init__(self) -> None:
        self._requests: deque[RecentRequest] = deque(maxlen=_MAX_REQUESTS)
        self._count = 0

    def add(self, method: str, path: str, status: int, seconds: float) -> None:
        """Add a request whose answer took some seconds, and has ended now."""
        self._count += 1
        path = path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}…"
        milliseconds = round(seconds * 1000, 1)
        now = time.time()
        self._requests.append(RecentRequest(self._count, now, method, path, status, milliseconds))

    def as_json(self) -> list[dict[str, Any]]:
        """Return them all, the last one first."""
        return [request._asdict() for request in reversed(self._requests)]
