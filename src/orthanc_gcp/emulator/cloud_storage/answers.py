"""Answers of Cloud Storage: its errors, which have another form than those of other services.

Source: Cloud Storage, JSON API, "HTTP status and error codes for JSON".
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.http.responses import Refusal, json_answer

__all__ = ["found", "invalid", "no_such_bucket", "no_such_object", "refusal"]

_HEADERS = {"Server": "UploadServer", "Vary": "Origin, X-Origin"}


def found(body: dict[str, Any]) -> Response:
    """Return a resource, or a list."""
    return json_answer(body, 200, _HEADERS)


def refusal(status: int, reason: str, message: str, *, location: str = "") -> Refusal:
    """Return a refusal; ``reason`` is one of those that the documentation lists.

    ``location`` is the header or the parameter that it is about.
    """
    entry = {"message": message, "domain": "global", "reason": reason}
    if location:
        kind = "header" if location[0].isupper() else "parameter"
        entry |= {"locationType": kind, "location": location}
    body = {"error": {"code": status, "message": message, "errors": [entry]}}
    return Refusal(json_answer(body, status, _HEADERS))


def invalid(message: str, *, location: str = "") -> Refusal:
    """Return the 400 of a request that cannot be."""
    return refusal(400, "invalid", message, location=location)


def no_such_bucket() -> Refusal:
    """Return the 404 of a bucket that there is not."""
    return refusal(404, "notFound", "The specified bucket does not exist.")


def no_such_object(bucket: str, name: str) -> Refusal:
    """Return the 404 of an object that there is not."""
    return refusal(404, "notFound", f"No such object: {bucket}/{name}")
