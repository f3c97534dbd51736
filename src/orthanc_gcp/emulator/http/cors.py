"""Cross-origin requests: pages of any origin may call the API, as viewers in browsers do at Google.

Source: WHATWG Fetch, "CORS protocol".

Only paths of the API are shared. Token endpoints, the metadata server and the emulator's own routes
are not: a page that somebody happens to visit must not get a credential from them.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["preflight_method", "preflight_response", "sharing_headers"]

_SHARED = re.compile(r"/v1(beta1)?/projects/[^/]+/(locations|topics|subscriptions)(/.*)?")
_METHODS = "DELETE,GET,PATCH,POST,PUT"
_MAX_AGE = "3600"


def sharing_headers(request: Request) -> list[tuple[bytes, bytes]]:
    """Return the headers by which a browser gives an answer to a page of another origin."""
    origin = request.headers.get("origin")
    if origin is None or not _SHARED.fullmatch(request.scope["path"]):
        return []
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"Content-Encoding,Date,WWW-Authenticate"),
        (b"vary", b"Origin"),
    ]


def preflight_method(request: Request) -> str | None:
    """Return the method that a browser asks for before it uses it, if that is what it does."""
    if request.method != "OPTIONS" or "origin" not in request.headers:
        return None
    return request.headers.get("access-control-request-method")


def preflight_response(request: Request) -> Response:
    """Return the permission to send what a browser has asked for."""
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Max-Age": _MAX_AGE,
    }
    wanted = request.headers.get("access-control-request-headers")
    if wanted is not None:
        headers["Access-Control-Allow-Headers"] = wanted
    return Response(headers=headers)
