"""The subscriptions of an account, as the REST API shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orthanc_gcp.retrieval.receive.receiver import Receiver, Result

__all__ = ["report_of"]


def report_of(receivers: Iterable[Receiver], account: str) -> list[dict[str, Any]]:
    """The subscriptions of an account, for programs."""
    return [
        {
            "Subscription": one.rule.subscription,
            "Held": one.held,
            **{_written(result): one.total(result) for result in Result},
            "MostDeliveryAttempts": one.most_attempts,
            "Problem": None if one.error is None else str(one.error),
        }
        for one in receivers
        if one.rule.account == account
    ]


def _written(result: Result) -> str:
    return "".join(word.capitalize() for word in result.split("_"))
