"""What a service of Google's means by a refusal: a table for each service, read in one way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from orthanc_gcp.reasons import StoreReason

__all__ = ["Refusal", "Refusals"]


class Refusal(NamedTuple):
    """What a refusal means.

    Attributes
    ----------
    retryable
        Whether the same may succeed later.
    words
        For the person at night.
    """

    reason: StoreReason
    retryable: bool
    words: str


_UNAVAILABLE = Refusal(StoreReason.UNAVAILABLE, True, "the service is in trouble")


@dataclass(frozen=True)
class Refusals:
    """What one service refuses with.

    Attributes
    ----------
    by_status
        What an HTTP status means (RFC 9110 §15).
    by_detail
        What says more than a status: the reason of an ErrorInfo, or a ``google.rpc.Code``
        (AIP-193).
    unexpected
        What is none of these, and no failure of the server.
    """

    by_status: Mapping[int, Refusal]
    by_detail: Mapping[str, Refusal]
    unexpected: Refusal

    def judge(self, status: int, *details: str) -> Refusal:
        """What an answer means, by the first of its details that says more than its status."""
        for detail in details:
            if detail in self.by_detail:
                return self.by_detail[detail]
        server_failed = 500 <= status < 600
        return self.by_status.get(status, _UNAVAILABLE if server_failed else self.unexpected)
