"""What a client can say of an object: its type, and metadata of its own.

Source: Cloud Storage, JSON API, "Objects" (writable properties).
"""

from __future__ import annotations

from typing import Any

from orthanc_gcp.emulator.cloud_storage.answers import invalid
from orthanc_gcp.emulator.http.requests import parse_object

__all__ = ["DEFAULT_TYPE", "MAX_FIELDS", "patched", "read_fields", "read_json"]

DEFAULT_TYPE = "application/octet-stream"
MAX_FIELDS = 64 * 1024
"""How many bytes the JSON of an object's fields has at most."""

_TEXTS = frozenset(
    {
        *("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage"),
        *("contentType", "customTime", "storageClass"),
    }
)


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body, or in a part of one; nothing when it is empty.

    Raises :class:`Refusal` (400) for what is no object.
    """
    value = parse_object(body)
    if value is None:
        raise invalid("Parse Error")
    return value


def read_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return those fields of a resource that can be set.

    Raises :class:`Refusal` (400) for a value that cannot be.
    """
    found: dict[str, Any] = {}
    for name in sorted(_TEXTS & given.keys()):
        if given[name] is not None:
            found[name] = _text(name, given[name])
    metadata = given.get("metadata")
    if metadata is not None:
        if not isinstance(metadata, dict):
            raise invalid("Invalid value for: metadata")
        found["metadata"] = {name: _text("metadata", value) for name, value in metadata.items()}
    return found


def patched(fields: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return fields with changes: ``null`` removes one, and so it does in ``metadata``.

    Raises :class:`Refusal` (400) as :func:`read_fields` does.
    """
    changed = {**fields, **read_fields({**given, "metadata": None})}
    metadata = given.get("metadata")
    if isinstance(metadata, dict):
        merged = {**fields.get("metadata", {}), **metadata}
        kept = {name: value for name, value in merged.items() if value is not None}
        changed |= read_fields({"metadata": kept})
    elif metadata is not None:
        raise invalid("Invalid value for: metadata")
    removed = {name for name in (*_TEXTS, "metadata") if name in given and given[name] is None}
    return {name: value for name, value in changed.items() if name not in removed}


def _text(name: str, value: Any) -> str:
    # What no header could carry would break the answer that has to carry it.
    if not isinstance(value, str) or (name in _TEXTS and not _is_header(value)):
        raise invalid(f"Invalid value for: {name}")
    return value


def _is_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and len(value) <= 1024
