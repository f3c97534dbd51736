"""The signature of a receipt: Ed25519 (RFC 8032) over its canonical form without the signature."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orthanc_gcp.custody.signatures.canonical_json import canonical

__all__ = ["ALGORITHM", "MEMBER", "PublicKey", "Verification", "sign", "unsigned", "verify"]

ALGORITHM = "Ed25519"
MEMBER, WHY_NOT = "Signature", "Unsigned"
"""Members of a document: the signature, and why there is none."""
_KEY_BYTES, _VALUE_BYTES = 32, 64


@dataclass(frozen=True)
class PublicKey:
    """What a signature is checked with: 32 bytes (RFC 8032 §5.1.5)."""

    raw: bytes

    @property
    def text(self) -> str:
        """All of it, in Base64."""
        return base64.b64encode(self.raw).decode()

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {"Algorithm": ALGORITHM, "PublicKey": self.text, "KeyId": self.id}


@dataclass(frozen=True)
class Verification:
    """What the signature of a document shows.

    Attributes
    ----------
    key
        The one that the signature names; None of a document that is not signed.
    fits
        Whether the document is what was signed with that key.
    why_unsigned
        What a document that is not signed says of that.
    """

    key: PublicKey | None
    fits: bool
    why_unsigned: str | None = None


def sign(key: Ed25519PrivateKey, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its signature.

    Raises
    ------
    ValueError
        It has no canonical form.
    """
    value = key.sign(canonical(_content(document)))
    public = PublicKey(key.public_key().public_bytes_raw())
    signature = {**public.as_json(), "Value": base64.b64encode(value).decode()}
    return {**document, MEMBER: signature}


def unsigned(document: Mapping[str, Any], why: str) -> dict[str, Any]:
    """The document without a signature, which says why."""
    return {**document, MEMBER: None, WHY_NOT: why}


def verify(document: Mapping[str, Any]) -> Verification:
    """What the signature of a document shows, whatever key it is by.

    Raises
    ------
    ValueError
        The document has no canonical form, or what it has for a signature is none.
    """
    content = canonical(_content(document))
    if MEMBER not in document:
        raise ValueError(f"it has no member {MEMBER}: it is no receipt")
    signature = document[MEMBER]
    if signature is None:
        why = document.get(WHY_NOT)
        return Verification(None, fits=False, why_unsigned=why if isinstance(why, str) else None)
    members = {"Algorithm", "PublicKey", "KeyId", "Value"}
    if not isinstance(signature, dict) or set(signature) != members:
        raise ValueError(f"{MEMBER}: expected an object of {', '.join(sorted(members))}")
    if signature["Algorithm"] != ALGORITHM:
        raise ValueError(f"{MEMBER}.Algorithm: expected {ALGORITHM}")
    key = PublicKey(_bytes(signature, "PublicKey", _KEY_BYTES))
    value = _bytes(signature, "Value", _VALUE_BYTES)
    if signature["KeyId"] != key.id:
        raise ValueError(f"{MEMBER}.KeyId: it is not that of PublicKey")
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(value, content)
    except InvalidSignature:
        return Verification(key, fits=False)
    return Verification(key, fits=True)


def _content(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != MEMBER}


def _bytes(signature: Mapping[str, Any], name: str, length: int) -> bytes:
    """The bytes of a member, which has one spelling only."""
    text = signature[name]
    try:
        value = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        value = b""
    if len(value) != length or base64.b64encode(value).decode() != text:
        raise ValueError(f"{MEMBER}.{name}: expected {length} bytes in Base64")
    return value
