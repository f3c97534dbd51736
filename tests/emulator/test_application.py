"""What all answers have in common."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest
import urllib3

from tests.emulator.adjustable import Adjustable


def dated(answer: urllib3.BaseHTTPResponse) -> float:
    """Return how far the date of an answer is from now."""
    (date,) = answer.headers.getlist("date")
    return parsedate_to_datetime(date).timestamp() - time.time()


def test_dates_that_are_off(adjustable: Adjustable) -> None:
    assert abs(dated(adjustable.client.get("/studies"))) < 2
    adjustable.change(dateOffset=-600)
    assert abs(dated(adjustable.client.get("/studies")) + 600) < 2
    assert adjustable.post().status == 200


@pytest.mark.parametrize(("offset", "works"), [(-600, False), (600, True), (7200, False)])
def test_a_clock_that_differs(adjustable: Adjustable, offset: float, works: bool) -> None:
    adjustable.change(clockOffset=offset)
    answer = adjustable.client.pool.request("GET", f"{adjustable.client.url}/")
    assert abs(dated(answer) - offset) < 2
    if works:
        adjustable.account.refresh(adjustable.request)
    else:
        assert "short-lived token (60 minutes)" in adjustable.refused()
