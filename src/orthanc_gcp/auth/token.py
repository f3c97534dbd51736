"""An access token, when to renew it, and how long to wait after a failure."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "Token", "lead", "pause"]

LONGEST_LEAD = 900.0
LONGEST_PAUSE = 60.0
FIRST_PAUSE = 1.0
SHORTEST_PAUSE = 0.2


@dataclass(frozen=True)
class Token:
    """An access token with its end, on the keeper's clock."""

    value: str = field(repr=False)
    expires_at: float
    lifetime: float

    def renew_at(self, jitter: float) -> float:
        """When to renew it; ``luck``, from 0 to 1, spreads the accounts."""
        ahead = min(lead(self.lifetime) * (1 + jitter / 10), self.lifetime * 0.6)
        # The metadata server hands out the same token until shortly before its end: ever shorter
        # lives must not become ever quicker questions.
        return max(self.expires_at - ahead, self.expires_at - self.lifetime + SHORTEST_PAUSE)


def lead(lifetime: float) -> float:
    """How long before its end a token is renewed, in seconds: half its life, 15 minutes at most.

    Four fifths of the lead are an outage that is certain to go unnoticed.
    """
    return min(lifetime / 2, LONGEST_LEAD)


def pause(previous: float, token: Token | None, jitter: float) -> float:
    """How long to wait after a failure, in seconds.

    Parameters
    ----------
    previous
        The pause before this one; 0 after the first failure.
    token
        The token still in use: the shorter its lead, the shorter the pause.
    luck
        A random number from 0 to 1, which spreads the accounts.
    """
    longest = LONGEST_PAUSE
    if token is not None:
        longest = max(SHORTEST_PAUSE, min(longest, lead(token.lifetime) / 10))
    return min(longest, max(2 * previous, FIRST_PAUSE)) * (0.8 + jitter / 5)
