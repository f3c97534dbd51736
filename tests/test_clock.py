"""What time it is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orthanc_gcp.clock import SystemClock, age, http_date


def test_an_age_is_written_in_the_unit_that_fits():
    assert [age(seconds) for seconds in (None, 5.2, 119, 180, 7300, 4 * 86400)] == [
        *("", "5 s", "119 s", "3 min", "2 h", "4 days")
    ]


def test_intervals_never_go_back_and_the_time_of_day_is_utc():
    clock = SystemClock()
    first = clock.now()
    assert clock.now() >= first
    assert clock.utc().tzinfo is UTC
    assert abs((datetime.now(UTC) - clock.utc()).total_seconds()) < 60


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("Sun Nov  6 08:49:37 1994", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        *((text, None) for text in ("", "now", f"Sun, 06 Nov {'9' * 20} 08:49:37 GMT")),
        (f"Sun, 06 Nov 1994 {'9' * 20}:49:37 GMT", None),
    ],
    ids=range(7),
)
def test_dates_of_http(text, date):
    assert http_date(text) == date
