"""What is measured, by the names that Orthanc and a worker show to Prometheus.

Names follow Prometheus' "Metric and label naming": the unit in the name, ``_total`` for what only
grows as long as its process lives. No library is used, so that the plugin can show them, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orthanc_gcp.auth.account_state import Figures

__all__ = [
    "METRICS",
    "STATES",
    "WORKER_UP",
    "Metric",
    "Sample",
    "of_tokens",
    "of_transfers",
]

STATES = ("waiting", "sending", "acknowledged", "confirmed", "quarantined", "withdrawn")
"""What transfers are counted by; what is held or delayed waits."""


@dataclass(frozen=True)
class Metric:
    """A name, and what it stands for."""

    name: str
    meaning: str

    @property
    def is_counter(self) -> bool:
        """Whether it only grows, and begins at 0 with its process."""
        return self.name.endswith("_total")


@dataclass(frozen=True)
class Sample:
    """One value of a metric; a missing label is an empty one."""

    metric: Metric
    value: float
    account: str = ""
    state: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The labels that it has, by name."""
        given = {"account": self.account, "state": self.state}
        return {name: value for name, value in given.items() if value}


TOKEN_UP = Metric("gcp_token_up", "1 while the account has a token that is good")
TOKEN_EXPIRY = Metric(
    "gcp_token_expiry_timestamp_seconds", "When the token expires, in UTC; 0 without one"
)
TOKEN_REFRESHES = Metric("gcp_token_refreshes_total", "Tokens that were acquired")
TOKEN_FAILURES = Metric("gcp_token_refresh_failures_total", "Tries that acquired none")
INSTANCES = Metric("gcp_transfer_instances", "Instances in the ledger, by state")
BYTES = Metric("gcp_transfer_bytes", "Bytes of the instances in the ledger, by state")
OLDEST = Metric(
    "gcp_transfer_oldest_unsent_age_seconds",
    "Since when the oldest unsent instance is to be sent; 0 without one",
)
WORKER_UP = Metric("gcp_worker_up", "1 while the worker answers")

METRICS = (
    TOKEN_UP,
    TOKEN_EXPIRY,
    TOKEN_REFRESHES,
    TOKEN_FAILURES,
    INSTANCES,
    BYTES,
    OLDEST,
    WORKER_UP,
)
"""What Orthanc shows."""


def of_tokens(figures: Iterable[tuple[str, Figures]], now: float) -> Iterator[Sample]:
    """The tokens of all accounts.

    Parameters
    ----------
    now
        The time that the figures are of, in UTC seconds.
    """
    for account, one in figures:
        left = one.seconds_to_expiry
        yield Sample(TOKEN_UP, float(left > 0), account)
        yield Sample(TOKEN_EXPIRY, now + left if left > 0 else 0.0, account)
        yield Sample(TOKEN_REFRESHES, one.refreshes, account)
        yield Sample(TOKEN_FAILURES, one.failures, account)


def of_transfers(overview: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
    """How far all accounts are.

    Parameters
    ----------
    overview
        What :meth:`orthanc_gcp.custody.reporting.overview.Reports.overview` tells.
    """
    for one in overview:
        account = one["Account"]
        for state in STATES:
            counts = one[state.capitalize()]
            yield Sample(INSTANCES, counts["Instances"], account, state)
            yield Sample(BYTES, counts["Bytes"], account, state)
        yield Sample(OLDEST, one["OldestUnsentSeconds"] or 0.0, account)
