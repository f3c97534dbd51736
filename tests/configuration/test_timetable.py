"""When a backfill may go: windows in a week, by the clock on the wall."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_gcp.configuration.timetable import DAYS, Timetable, is_window

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def at(day: str, time: str) -> datetime:
    hour, minute = map(int, time.split(":"))
    return MONDAY + timedelta(days=DAYS.index(day), hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("windows", "moment", "is_open"),
    [
        ([], ("Wed", "12:00"), True),
        (["20:00-06:00"], ("Wed", "19:59"), False),
        (["20:00-06:00"], ("Wed", "20:00"), True),
        (["20:00-06:00"], ("Thu", "05:59"), True),
        (["20:00-06:00"], ("Thu", "06:00"), False),
        (["Sun 20:00-06:00"], ("Mon", "05:59"), True),
        (["Sun 20:00-06:00"], ("Sun", "05:59"), False),
        (["Sat,Sun 00:00-24:00"], ("Sat", "00:00"), True),
        (["Sat,Sun 00:00-24:00"], ("Sun", "23:59"), True),
        (["Sat,Sun 00:00-24:00"], ("Mon", "00:00"), False),
        (["Fri-Mon 12:00-13:00"], ("Sun", "12:30"), True),
        (["Fri-Mon 12:00-13:00"], ("Tue", "12:30"), False),
        (["Mon 01:00-02:00", "Tue 01:00-02:00"], ("Tue", "01:00"), True),
        (["23:00-06:00", "12:00-12:01"], ("Tue", "12:00"), True),
    ],
)
def test_windows(windows, moment, is_open):
    assert Timetable(windows).is_open(at(*moment)) is is_open


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20:00",
        "8:00-9:00",
        "20:00-20:00",
        "24:00-06:00",
        "20:00-24:01",
        "20:60-21:00",
        "Mo 20:00-21:00",
        "Mon, Tue 20:00-21:00",
        "Mon- 20:00-21:00",
        "Mon20:00-21:00",
        "20:00-06:00 ",
    ],
)
def test_what_is_no_window(text):
    assert not is_window(text)
    with pytest.raises(ValueError, match=r".*"):
        Timetable([text])


def open_minutes(timetable: Timetable, begin: datetime, hours: int) -> int:
    """How long it is open from a moment on, by a clock that nobody sets."""
    moments = (begin + timedelta(minutes=passed) for passed in range(60 * hours))
    return sum(timetable.is_open(moment.astimezone(BERLIN)) for moment in moments)


def test_an_hour_that_the_clock_skips_is_not_open():
    noon = datetime(2026, 3, 28, 12, tzinfo=BERLIN).astimezone(UTC)
    assert open_minutes(Timetable(["01:00-04:00"]), noon, 24) == 2 * 60
    assert open_minutes(Timetable(["02:00-03:00"]), noon, 24) == 0
    assert open_minutes(Timetable(["20:00-06:00"]), noon, 24) == 9 * 60


def test_an_hour_that_the_clock_shows_twice_is_open_twice():
    noon = datetime(2026, 10, 24, 12, tzinfo=BERLIN).astimezone(UTC)
    assert open_minutes(Timetable(["02:00-03:00"]), noon, 24) == 2 * 60
    assert open_minutes(Timetable(["20:00-06:00"]), noon, 24) == 11 * 60


HOURS = st.integers(0, 23)
MINUTES = st.integers(0, 59)
TIMES = st.tuples(HOURS, MINUTES)
MOMENTS = st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(TIMES, TIMES, st.integers(0, 6), MOMENTS)
def test_a_window_is_open_between_its_ends(begin, end, day, moment):
    text = f"{DAYS[day]} {begin[0]:02}:{begin[1]:02}-{end[0]:02}:{end[1]:02}"
    if begin == end:
        assert not is_window(text)
        return
    now = (moment.hour, moment.minute)
    if begin < end:
        expected = moment.weekday() == day and begin <= now < end
    else:
        expected = (moment.weekday() == day and now >= begin) or (
            moment.weekday() == (day + 1) % 7 and now < end
        )
    assert Timetable([text]).is_open(moment) is expected


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["20:00-06:00", "Sat,Sun 00:00-24:00", "Wed 12:00-18:00"])),
    MOMENTS,
    st.integers(1, 700),
)
def test_when_it_will_have_been_open_for_so_long(windows, begin, minutes):
    begin = begin.replace(second=0, microsecond=0)
    timetable = Timetable(windows)
    end = timetable.after(begin, minutes * 60)
    passed = int((end - begin).total_seconds()) // 60
    opened = sum(timetable.is_open(begin + timedelta(minutes=one)) for one in range(passed))
    assert opened == minutes
