"""Which representation a client gets (RFC 9110 section 12.5.1, DICOM PS3.18 section 8.7)."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request

from orthanc_gcp.emulator.http.media_types import MediaType, parse_accept
from orthanc_gcp.emulator.http.responses import Refusal, text_error

__all__ = [
    "DICOM",
    "JPEG",
    "JSON",
    "OCTETS",
    "PNG",
    "XML",
    "accepted_types",
    "not_acceptable",
]

DICOM = "application/dicom"
JSON = "application/dicom+json"
XML = "application/dicom+xml"
OCTETS = "application/octet-stream"
JPEG = "image/jpeg"
PNG = "image/png"


def accepted_types(request: Request) -> tuple[MediaType, ...]:
    """Return what a client accepts, the most wanted first."""
    return parse_accept(_header(request))


def not_acceptable(request: Request, offers: Iterable[str]) -> Refusal:
    """Return the 406 that says what would have been acceptable, in the Healthcare API's words."""
    return Refusal(
        text_error(
            406,
            f"no supported media type found in [{_header(request)}], "
            f"accept-header must include one of {', '.join(offers)}",
        )
    )


def _header(request: Request) -> str:
    return ", ".join(request.headers.getlist("accept"))
