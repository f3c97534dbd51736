"""What the token endpoints have in common: forms, answers, errors (RFC 6749 section 5)."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.identities import User
from orthanc_gcp.emulator.http.requests import MAX_REQUEST_SIZE, read_limited
from orthanc_gcp.emulator.http.responses import NEVER_CACHED, GrantError, json_answer

__all__ = [
    "checked_owner",
    "issued",
    "read_form",
    "with_basic",
]


def issued(body: dict[str, Any]) -> Response:
    """Return an answer with a token in it, which no cache may store (RFC 6749 section 5.1)."""
    return json_answer(body, headers=NEVER_CACHED)


async def read_form(request: Request) -> dict[str, str]:
    """Return the parameters of a request, from a form (RFC 6749 appendix B) or from JSON.

    What is no text in JSON is left out, and a body that is no object has no parameters.

    Raises
    ------
    Refusal
        400 for a body of more than 64 KiB.
    """
    body = await read_limited(request, MAX_REQUEST_SIZE)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(parsed, dict):
        return {}
    return {name: value for name, value in parsed.items() if isinstance(value, str)}


def with_basic(form: dict[str, str], request: Request) -> dict[str, str]:
    """Return a form with the client's name and secret of HTTP Basic (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return form
    return {**form, "client_id": client_id, "client_secret": secret}


def checked_owner(form: dict[str, str], users: list[User]) -> User:
    """Return whose refresh token a form has, be it revoked or not.

    Raises
    ------
    GrantError
        The client or the refresh token is unknown or missing, or the client's secret is wrong.
    """
    client_id = form.get("client_id")
    if not client_id:
        raise GrantError("invalid_request", "Could not determine client ID from request.")
    owner = next((user for user in users if user.client_id == client_id), None)
    if owner is None:
        raise GrantError("invalid_client", "The OAuth client was not found.", 401)
    if not form.get("refresh_token"):
        raise GrantError("invalid_request", "Missing required parameter: refresh_token")
    if form.get("client_secret") != owner.client_secret:
        raise GrantError("invalid_client", "The provided client secret is invalid.", 401)
    if form["refresh_token"] != owner.refresh_token:
        raise GrantError("invalid_grant", "Token has been expired or revoked.")
    return owner
