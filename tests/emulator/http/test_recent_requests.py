"""The last requests, and no more than those."""

from __future__ import annotations

import time

from orthanc_gcp.emulator.http.recent_requests import RecentRequests


def test_old_requests_are_forgotten() -> None:
    recent = RecentRequests()
    for number in range(1000):
        recent.add("GET", f"/{number}", 200, 0.0)
    assert [request["path"] for request in recent.as_json()] == [
        f"/{number}" for number in range(999, 799, -1)
    ]
    assert recent.find(800) is None
    oldest = recent.find(801)
    assert oldest is not None
    assert oldest.path == "/800"


def test_what_is_shown_of_a_request() -> None:
    recent = RecentRequests()
    recent.add("GET", "/" + "x" * 1000, 204, 0.01234)
    (shown,) = recent.as_json()
    assert abs(shown.pop("time") - time.time()) < 5
    assert len(shown.pop("path")) == 301
    assert shown == {"number": 1, "method": "GET", "status": 204, "milliseconds": 12.3}


def test_the_head_of_a_request() -> None:
    recent = RecentRequests()
    sent = [(b"accept", b"*/*"), (b"authorization", b"Bearer secret")]
    recent.add("GET", "/", 200, 0.0, sent, [(b"content-length", b"2")])
    request = recent.find(1)
    assert request is not None
    assert request.head() == {
        "request": [("accept", "*/*"), ("authorization", "Bearer …")],
        "answer": [("content-length", "2")],
    }
