"""An access token, when to renew it, and how long to wait after a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from orthanc_gcp.backoff import Backoff

__all__ = ["BACKOFF", "Token", "refresh_margin", "retry_delay"]

LONGEST_MARGIN = 900.0
SHORTEST_DELAY = 0.2
BACKOFF = Backoff(1.0, 60.0, jitter=0.2)


@dataclass(frozen=True)
class Token:
    """An access token with its end, in seconds of the clock that it was acquired by."""

    value: str = field(repr=False)
    expires_at: float
    lifetime: float

    def renew_at(self, jitter: float) -> float:
        """When to renew it; ``jitter``, from 0 to 1, spreads the accounts."""
        ahead = min(refresh_margin(self.lifetime) * (1 + jitter / 10), self.lifetime * 0.6)
        # The metadata server hands out the same token until shortly before its end: ever shorter
        # lifetimes must not become ever quicker requests.
        return max(self.expires_at - ahead, self.expires_at - self.lifetime + SHORTEST_DELAY)


def refresh_margin(lifetime: float) -> float:
    """How long before its end a token is renewed, in seconds: half its life, 15 minutes at most.

    An outage of the token endpoint of four fifths of the margin is certain to go unnoticed.
    """
    return min(lifetime / 2, LONGEST_MARGIN)


def retry_delay(previous: float, token: Token | None, random: Callable[[], float]) -> float:
    """How long to wait after a failure, in seconds.

    Parameters
    ----------
    previous
        The delay before this one; 0 after the first failure.
    token
        The token still in use: the shorter its margin, the shorter the delay.
    random
        Gives numbers from 0 to 1, which spread the accounts.
    """
    if token is None:
        return BACKOFF.after(previous, random)
    longest = max(SHORTEST_DELAY, min(BACKOFF.longest, refresh_margin(token.lifetime) / 10))
    return replace(BACKOFF, longest=longest).after(previous, random)
