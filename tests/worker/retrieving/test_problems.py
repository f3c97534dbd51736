"""Which subscriptions need a person."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.custody.reporting.problems import ProblemKind
from orthanc_gcp.errors import StoreError, SubscriptionError
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.worker.retrieving.problems import problems_of


def receiver(error) -> Any:
    rule = ReceiveRule(account="a", subscription="projects/p/subscriptions/s")
    return SimpleNamespace(rule=rule, error=error, failing_since=7.0)


def test_only_what_does_not_pass_by_itself():
    refused = SubscriptionError("it is not yours", reason=StoreReason.FORBIDDEN)
    passing = SubscriptionError("away", reason=StoreReason.UNAVAILABLE, retryable=True)
    no_token = StoreError("no token", reason=StoreReason.NO_TOKEN, retryable=True)
    (one,) = problems_of([receiver(each) for each in (None, passing, no_token, refused)])
    assert (one.kind, one.account, one.since) == (ProblemKind.SUBSCRIPTION, "a", 7.0)
    assert one.subject == "projects/p/subscriptions/s", "an account may have several"
    assert "it is not yours" in one.message
    assert "orthanc-gcp check" in one.remedy
