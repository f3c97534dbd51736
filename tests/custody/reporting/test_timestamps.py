"""Moments are told in UTC, with milliseconds."""

from __future__ import annotations

from orthanc_gcp.custody.reporting.timestamps import utc


def test_a_moment():
    assert utc(1_800_000_000.0004) == "2027-01-15T08:00:00.000+00:00"
    assert utc(0) == "1970-01-01T00:00:00.000+00:00"
    assert utc(None) is None
