"""Who calls a route, as far as Orthanc has made sure of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

__all__ = ["LARGEST", "user_of", "with_user"]

_SCHEME = "basic"
LARGEST = 64 * 1024
"""Bytes of a body that has a few names only; a larger one the worker refuses."""


def user_of(headers: Mapping[str, str]) -> str:
    """The user that HTTP Basic authentication names (RFC 7617 section 2); empty without one.

    Orthanc lets nobody through to a plugin whose password it does not know, where its option
    ``AuthenticationEnabled`` has it ask for one.

    Parameters
    ----------
    headers
        Those of the request, with names in lower case.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() != _SCHEME:
        return ""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:
        return ""
    user = decoded.partition(":")[0]
    return user if user.isprintable() else ""


def with_user(body: bytes, user: str) -> bytes:
    """A JSON object in which ``User`` is who has asked, whatever the caller has written there.

    What cannot be read here is passed on as nothing: the worker might read a user in it.
    """
    try:
        wanted = json.loads(body or b"{}") if len(body) <= LARGEST else None
        if not isinstance(wanted, dict):
            return b"null"
        wanted.pop("User", None)
        return json.dumps({**wanted, "User": user} if user else wanted).encode()
    except (ValueError, RecursionError):
        return b"null"
