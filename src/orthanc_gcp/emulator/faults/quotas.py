"""How many requests a minute may have (Healthcare API, "Quotas and limits")."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orthanc_gcp.emulator.faults.setting_values import flag, members, whole
from orthanc_gcp.emulator.http.responses import Refusal, quota_exceeded

__all__ = ["Meter", "Quota", "read_quota"]

_MINUTE = 60.0


@dataclass(frozen=True)
class Quota:
    """A limit, and whether a refusal says when to come back (``Retry-After``)."""

    requests_per_minute: int
    retry_after: bool = False


def read_quota(value: Any) -> Quota:
    """Read a quota from JSON.

    Raises
    ------
    ValueError
        In words that follow the setting's name.
    """
    kinds = {"requestsPerMinute": whole(0, 10**9), "retryAfter": flag}
    found = members(value, kinds)
    if "requests_per_minute" not in found:
        raise ValueError("lacks requestsPerMinute")
    return Quota(**found)


class Meter:
    """Counts requests by the minute; a minute begins with the first request after the last one."""

    def __init__(self, clock: Callable[[], float], project_number: str) -> None:
        self._clock = clock
        self._project_number = project_number
        self._start = -math.inf
        self._count = 0

    def admit(self, quota: Quota) -> None:
        """Count a request.

        Raises
        ------
        Refusal
            429, when there were as many in this minute as the quota allows; it does not count.
        """
        now = self._clock()
        if not 0 <= now - self._start < _MINUTE:
            self._start, self._count = now, 0
        if self._count >= quota.requests_per_minute:
            left = math.ceil(self._start + _MINUTE - now) if quota.retry_after else None
            limit = quota.requests_per_minute
            raise Refusal(quota_exceeded(self._project_number, limit, left))
        self._count += 1
