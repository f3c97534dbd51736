"""What Google's front end adds to the answers of the services behind it.

Sources: answers of googleapis.com that were logged (headers of JSON errors); RFC 9110 section
8.4.1.3 (gzip).
"""

from __future__ import annotations

import gzip
import re

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.http.cors import sharing_headers
from orthanc_gcp.emulator.http.negotiation import takes_gzip

__all__ = ["MAX_COMPRESSED", "finish"]

MAX_COMPRESSED = 1024 * 1024
"""How long an answer is at most that is compressed, in bytes."""

_JSON = "application/json"
_HEADERS = [
    (b"vary", b"Origin, X-Origin, Referer"),
    (b"x-xss-protection", b"0"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
]
_SCAFFOLDING = re.compile(
    r"/(v1/)?token|/v1/oauthtoken|/v1/projects/[^/]+/serviceAccounts/.*|/v1/.*/allowedLocations"
)
"""Token endpoints and the API of IAM credentials."""
_ESF = re.compile(r"/v1(beta1)?/.*")


def finish(request: Request, response: Response) -> None:
    """Add to an answer what the front end does: headers of JSON and of CORS, compression."""
    shared = sharing_headers(request)
    server = _server(request.scope["path"])
    if server and response.headers.get("content-type", "").startswith(_JSON):
        shared = [header for header in shared if header[0] != b"vary"]
        response.raw_headers.extend([*_HEADERS, (b"server", server)])
        if takes_gzip(request):
            _compress(response)
    response.raw_headers.extend(shared)


def _server(path: str) -> bytes:
    """Return who says that it answers; nobody where it is not an API of Google."""
    if _SCAFFOLDING.fullmatch(path):
        return b"scaffolding on HTTPServer2"
    return b"ESF" if _ESF.fullmatch(path) else b""


def _compress(response: Response) -> None:
    # What is sent in some other way than whole, as broken answers are, stays as it is.
    if type(response) is not Response or not 0 < len(response.body) <= MAX_COMPRESSED:
        return
    response.body = gzip.compress(response.body, 6, mtime=0)
    response.headers["content-length"] = str(len(response.body))
    response.headers["content-encoding"] = "gzip"
