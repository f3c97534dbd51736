"""Which representation a client gets (RFC 9110 section 12.5, DICOM PS3.18 section 8.7)."""

from __future__ import annotations

import re
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
    "takes_gzip",
]

DICOM = "application/dicom"
JSON = "application/dicom+json"
XML = "application/dicom+xml"
OCTETS = "application/octet-stream"
JPEG = "image/jpeg"
PNG = "image/png"

_NO_QUALITY = re.compile(r"0(\.0*)?")


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


def takes_gzip(request: Request) -> bool:
    """Return whether a client asks for gzip by name; ``*`` is not enough."""
    for coding in ",".join(request.headers.getlist("accept-encoding")).split(","):
        name, _, parameter = coding.partition(";")
        if name.strip().lower() in ("gzip", "x-gzip"):
            _, _, quality = parameter.partition("=")
            return not _NO_QUALITY.fullmatch(quality.strip())
    return False


def _header(request: Request) -> str:
    return ", ".join(request.headers.getlist("accept"))
