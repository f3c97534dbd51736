"""What is often taken for a credential file: known by its content, of which nothing is shown."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from orthanc_gcp.reasons import CredentialReason

__all__ = ["of_fields", "of_text"]

Mistake = tuple[CredentialReason, str]
"""A reason for programs, and words."""

_TOKEN: Mistake = (
    CredentialReason.ONLY_ACCESS_TOKEN,
    "it only holds an access token, which expires within the hour",
)
_API_KEY: Mistake = (
    CredentialReason.API_KEY,
    "it only holds an API key, which opens no DICOM store",
)
_GCLOUD: Mistake = (
    CredentialReason.GCLOUD_CONFIGURATION,
    "it is a configuration of gcloud, not a credential",
)
_NOT_JSON = "the file is not JSON"

_TEXTS: tuple[tuple[str, Mistake], ...] = (
    (r"\s*$", (CredentialReason.EMPTY_FILE, f"{_NOT_JSON}: it is empty")),
    (r"\s*\"?(Bearer )?(ya29\.\S*|eyJ[\w-]+\.[\w-]+\.[\w-]*)\"?\s*$", _TOKEN),
    (r"\s*\"?AIza\S*\s*$", _API_KEY),
    (
        r"\s*\"?1//\S*\s*$",
        (
            CredentialReason.BARE_REFRESH_TOKEN,
            "it only holds a refresh token, without its OAuth client",
        ),
    ),
    (
        r"\s*-----BEGIN ",
        (CredentialReason.BARE_PEM, f"{_NOT_JSON}: it is the PEM file of a key or certificate"),
    ),
    (r"\s*<", (CredentialReason.WEB_PAGE, f"{_NOT_JSON}: it is a web page")),
    (r"\s*\[\w+\]\s", _GCLOUD),
    (r"SQLite format 3", _GCLOUD),
)
_FIELDS: tuple[tuple[frozenset[str], Mistake], ...] = (
    (
        frozenset({"installed"}),
        (CredentialReason.OAUTH_CLIENT, "it is an OAuth client, not a credential"),
    ),
    (
        frozenset({"web"}),
        (CredentialReason.OAUTH_CLIENT, "it is an OAuth client, not a credential"),
    ),
    (
        frozenset({"privateKeyData"}),
        (CredentialReason.WRAPPED_KEY, "the key is inside privateKeyData, in Base64"),
    ),
    (frozenset({"token"}), _TOKEN),
    (frozenset({"access_token"}), _TOKEN),
    (frozenset({"accessToken"}), _TOKEN),
    (frozenset({"apiKey"}), _API_KEY),
    (frozenset({"keyString"}), _API_KEY),
    (frozenset({"core"}), _GCLOUD),
    (
        frozenset({"uniqueId", "email"}),
        (CredentialReason.NO_KEY, "it describes a service account, without key"),
    ),
    (
        frozenset({"GoogleCloudPlatform"}),
        (CredentialReason.ORTHANC_CONFIGURATION, "it is Orthanc's configuration"),
    ),
)
_CREDENTIAL = frozenset({"private_key", "refresh_token", "source_credentials", "credential_source"})


def of_text(content: bytes) -> Mistake:
    """What a file holds that is not a JSON object."""
    if content.startswith((b"\x30\x81", b"\x30\x82")):  # a SEQUENCE of ASN.1 (PKCS #12)
        return CredentialReason.P12, f"{_NOT_JSON}: it is a P12 file"
    text = content.decode(json.detect_encoding(content), "replace").lstrip("\ufeff")
    for pattern, mistake in _TEXTS:
        if re.match(pattern, text):
            return mistake
    if _is_base64_of_json(text):
        return CredentialReason.BASE64, f"{_NOT_JSON}: it is JSON in Base64"
    return CredentialReason.NOT_JSON, _NOT_JSON + _position(text)


def of_fields(fields: Mapping[str, Any]) -> Mistake | None:
    """What a JSON object is that holds no credential, where it is something well known."""
    if _CREDENTIAL & fields.keys():
        return None
    return next((mistake for names, mistake in _FIELDS if names <= fields.keys()), None)


def _is_base64_of_json(text: str) -> bool:
    try:
        decoded = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return decoded.lstrip().startswith(b"{")


def _position(text: str) -> str:
    """Where the JSON of something that begins like an object is broken."""
    if not text.lstrip().startswith("{"):
        return ""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f": it breaks off or has a mistake at line {error.lineno}, column {error.colno}"
    except RecursionError:
        pass
    return ""
