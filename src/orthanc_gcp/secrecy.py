"""Texts from elsewhere, made fit for a log: no secret, no line break, no novel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

__all__ = ["masked_fields", "masked_form", "readable", "secrets_of_form"]

# Fields of token requests and answers that may be shown (RFC 6749, RFC 7523, RFC 8693).
_OPEN_FIELDS = frozenset(
    {
        "error",
        "error_description",
        "error_subtype",
        "expires_in",
        "grant_type",
        "scope",
        "token_type",
    }
)
_LONGEST = 300


def readable(text: str, secrets: Iterable[str] = ()) -> str:
    """One line of at most 300 characters, in which no secret of the request is echoed."""
    for secret in secrets:
        text = text.replace(secret, "(masked)")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def secrets_of_form(body: bytes | str | None) -> list[str]:
    """The values of a form that must not be shown, longest first."""
    values = [value for key, value in _form(body) if key not in _OPEN_FIELDS]
    return sorted((value for value in values if len(value) >= 4), key=len, reverse=True)


def masked_form(body: bytes | str | None) -> dict[str, str]:
    """A form as it may be logged."""
    return masked_fields(dict(_form(body)))


def masked_fields(fields: Mapping[str, Any], secrets: Iterable[str] = ()) -> dict[str, str]:
    """Fields as they may be logged: what is not known to be harmless shows its length only."""
    return {
        readable(key, secrets): readable(str(value), secrets)
        if key in _OPEN_FIELDS
        else _mask(value)
        for key, value in fields.items()
    }


def _mask(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"(masked, {len(text)} characters)"


def _form(body: bytes | str | None) -> list[tuple[str, str]]:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
    return parse_qsl(text, keep_blank_values=True)
