"""What a person has to do so that something is received."""

from __future__ import annotations

from collections.abc import Iterable

from orthanc_gcp.custody.reporting.problems import Problem, ProblemKind
from orthanc_gcp.errors import StoreError, SubscriptionError
from orthanc_gcp.retrieval.receive.receiver import Receiver

__all__ = ["problems_of"]

_REMEDY = (
    "see the message; `orthanc-gcp check` looks at the subscription, too. What waits in it comes "
    "when it can be pulled, unless it is too old by then"
)


def problems_of(receivers: Iterable[Receiver]) -> list[Problem]:
    """The subscriptions by which nothing comes until a person does something."""
    return [
        Problem(
            ProblemKind.SUBSCRIPTION,
            one.rule.account,
            "",
            0,
            one.failing_since,
            f"nothing is received: {one.error}",
            _REMEDY,
            subject=one.rule.subscription,
        )
        for one in receivers
        if isinstance(one.error, SubscriptionError | StoreError) and not one.error.retryable
    ]
