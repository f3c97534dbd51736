"""The last requests, and no more than those."""

from __future__ import annotations

from orthanc_gcp.emulator.http.recent_requests import RecentRequests


def test_old_requests_are_forgotten():
    recent = RecentRequests()
    for number in range(1000):
        recent.add("GET", f"/{number}", 200, 0.0)
    assert [request["path"] for request in recent.as_json()] == [
        f"/{number}" for number in range(999, 799, -1)
    ]
