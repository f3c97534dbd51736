"""Figures and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orthanc_gcp.commands.formatting import count, moment


def test_a_count_has_its_noun():
    assert [count(number, "instance") for number in (0, 1, 1234)] == [
        "0 instances",
        "1 instance",
        "1,234 instances",
    ]
    assert count(2, "study") == "2 studies"


def test_a_time_has_its_date_on_other_days():
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)
    later = now.astimezone() + timedelta(seconds=90)
    assert moment(later.isoformat(), now) == later.strftime("%H:%M:%S")
    far = now.astimezone() + timedelta(days=90)
    assert moment(far.isoformat(), now) == far.strftime("%Y-%m-%d %H:%M")
    assert moment(None, now) == ""
