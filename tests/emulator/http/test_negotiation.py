"""Which representation a client gets."""

from __future__ import annotations

from orthanc_gcp.emulator.http.negotiation import DICOM, JSON, accepted_types, not_acceptable
from tests.emulator.http.asgi import make_request


def test_several_headers_are_one_list() -> None:
    request = make_request(headers=[("Accept", f"{JSON};q=0.5"), ("Accept", DICOM)])
    assert [accepted.full for accepted in accepted_types(request)] == [DICOM, JSON]


def test_without_a_header_anything_will_do() -> None:
    assert [accepted.full for accepted in accepted_types(make_request())] == ["*/*"]


def test_the_refusal_says_what_there_is() -> None:
    request = make_request(headers=[("Accept", "text/html")])
    answer = not_acceptable(request, [DICOM, JSON]).response
    assert (answer.status_code, answer.media_type) == (406, "text/plain; charset=utf-8")
    assert answer.body.decode() == (
        "no supported media type found in [text/html], "
        "accept-header must include one of application/dicom, application/dicom+json"
    )
