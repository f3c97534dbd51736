"""Moments as Google writes them."""

from __future__ import annotations

from orthanc_gcp.emulator.http.timestamps import rfc1123, timestamp


def test_moments() -> None:
    assert timestamp(0.25) == "1970-01-01T00:00:00.250000Z"
    assert timestamp(1_582_934_400) == "2020-02-29T00:00:00.000000Z"
    assert rfc1123(1_582_934_400.9) == "Sat, 29 Feb 2020 00:00:00 UTC"
