"""What time it is."""

from __future__ import annotations

from datetime import UTC, datetime

from orthanc_gcp.clock import SystemClock, age


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
