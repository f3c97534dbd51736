"""How many requests and bytes an account may have (Healthcare API, "Quotas and limits").

That page names operations a minute and bytes of ingress, without numbers. By the minute a client
that is measured for seconds would meet no limit, so there are limits by the second besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import Message

from orthanc_gcp.emulator.faults.setting_values import flag, members, whole
from orthanc_gcp.emulator.http.responses import Refusal, quota_exceeded

__all__ = ["Meter", "Quota", "read_quota"]

_MINUTE = 60
_MAX_NUMBER = 10**9
_MAX_BYTES = 10**12
_LIMITS = ("requestsPerMinute", "requestsPerSecond", "bytesPerSecond")


@dataclass(frozen=True)
class Quota:
    """Limits, and whether a refusal says when to come back (``Retry-After``).

    ``bytes_per_second`` are those of the bodies of requests.
    """

    requests_per_minute: int | None = None
    requests_per_second: int | None = None
    bytes_per_second: int | None = None
    retry_after: bool = False


def read_quota(value: Any) -> Quota:
    """Read a quota from JSON.

    Raises
    ------
    ValueError
        In words that follow the setting's name.
    """
    kinds = {
        "requestsPerMinute": whole(0, _MAX_NUMBER),
        "requestsPerSecond": whole(1, _MAX_NUMBER),
        "bytesPerSecond": whole(1, _MAX_BYTES),
        "retryAfter": flag,
    }
    found = members(value, kinds)
    if not found.keys() - {"retry_after"}:
        raise ValueError(f"lacks a limit: {', '.join(_LIMITS)}")
    return Quota(**found)


class _Allowance:
    """What is left of a rate: of one second at most, and below zero when more was used."""

    def __init__(self) -> None:
        self._left = self._seen = -math.inf

    def left(self, rate: int, now: float) -> float:
        """Return what may be used now."""
        if self._seen == -math.inf:
            self._left = float(rate)
        elapsed = max(0.0, now - self._seen)
        self._left, self._seen = min(rate, self._left + rate * elapsed), now
        return self._left

    def use(self, amount: int) -> None:
        """Use some of it, even what is not left."""
        self._left -= amount


class Meter:
    """Counts requests and bytes; a minute begins with the first request after the last one.

    Bytes are counted as they arrive, since nobody knows before how many there are: who is let in
    may use more than is left, and all wait until that is made up for.
    """

    def __init__(self, clock: Callable[[], float], project_number: str) -> None:
        self._clock = clock
        self._project_number = project_number
        self._start = -math.inf
        self._count = 0
        self._requests, self._bytes = _Allowance(), _Allowance()

    def admit(self, quota: Quota) -> None:
        """Count a request.

        Raises
        ------
        Refusal
            429, when the quota is used up; it does not count.
        """
        now = self._clock()
        self._check_minute(quota, now)
        if (rate := quota.requests_per_second) is not None:
            self._check_second(quota, rate, self._requests.left(rate, now) - 1)
        if (rate := quota.bytes_per_second) is not None:
            self._check_second(quota, rate, self._bytes.left(rate, now))
        self._count += 1
        self._requests.use(1)

    def metered(self, request: Request) -> Request:
        """Return a request whose body counts while it is read."""

        async def receive() -> Message:
            message = await request.receive()
            self._bytes.use(len(message.get("body", b"")))
            return message

        return Request(request.scope, receive)

    def _check_minute(self, quota: Quota, now: float) -> None:
        if not 0 <= now - self._start < _MINUTE:
            self._start, self._count = now, 0
        limit = quota.requests_per_minute
        if limit is not None and self._count >= limit:
            self._refuse(quota, limit, self._start + _MINUTE - now)

    def _check_second(self, quota: Quota, rate: int, left: float) -> None:
        if left < 0:
            self._refuse(quota, rate * _MINUTE, -left / rate)

    def _refuse(self, quota: Quota, limit: int, seconds: float) -> None:
        left = max(1, math.ceil(seconds)) if quota.retry_after else None
        raise Refusal(quota_exceeded(self._project_number, limit, left))
