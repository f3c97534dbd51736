"""What is shown of a subscription."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.retrieval.receive.receiver import Result
from orthanc_gcp.retrieval.receive.report import report_of


def test_every_result_is_shown():
    one: Any = SimpleNamespace(
        rule=ReceiveRule(account="a", subscription="projects/p/subscriptions/s"),
        held=3,
        most_attempts=2,
        error=None,
        total=lambda result: list(Result).index(result),
    )
    assert report_of([one], "a") == [
        {
            "Subscription": "projects/p/subscriptions/s",
            "Held": 3,
            "Received": 0,
            "Own": 1,
            "Unwanted": 2,
            "Foreign": 3,
            "Malformed": 4,
            "GivenUp": 5,
            "MostDeliveryAttempts": 2,
            "Problem": None,
        }
    ]
