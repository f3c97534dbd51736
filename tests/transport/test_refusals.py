"""What says most of a refusal counts."""

from __future__ import annotations

import pytest

from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.transport.refusals import Refusal, Refusals

GONE = Refusal(StoreReason.NOT_FOUND, False, "gone")
FULL = Refusal(StoreReason.THROTTLED, True, "full")
OWN = Refusal(StoreReason.FORBIDDEN, False, "its own")
ODD = Refusal(StoreReason.PROTOCOL, False, "odd")
REFUSALS = Refusals({404: GONE, 503: OWN}, {"FULL": FULL, "OTHER": OWN}, ODD)


@pytest.mark.parametrize(
    ("status", "details", "found"),
    [
        (404, (), GONE),
        (404, ("", "UNKNOWN"), GONE),
        (404, ("FULL",), FULL),
        (404, ("", "OTHER", "FULL"), OWN),
        (503, (), OWN),
        (418, (), ODD),
        (200, (), ODD),
        (600, (), ODD),
    ],
)
def test_by_the_first_that_says_more_than_the_status(status, details, found):
    assert REFUSALS.judge(status, *details) == found


@pytest.mark.parametrize("status", [500, 502, 599])
def test_a_server_that_fails_may_be_asked_again(status):
    found = REFUSALS.judge(status)
    assert (found.reason, found.retryable) == (StoreReason.UNAVAILABLE, True)
