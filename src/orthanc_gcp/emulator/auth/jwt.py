"""JSON Web Tokens: taken apart, put together, signatures checked (RFC 7515, RFC 7518)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

__all__ = ["Jwt", "MalformedJwtError", "PrivateKey", "base64url", "private_key", "sign"]

_HALF = 32
"""The bytes of each of the two numbers in an ES256 signature (RFC 7518 section 3.4)."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class MalformedJwtError(ValueError):
    """The text does not have the three parts of a JWT, or they cannot be read."""


@dataclass(frozen=True)
class Jwt:
    """A token taken apart; nothing in it is to be believed before :meth:`is_signed_by`."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> Jwt:
        parts = text.split(".")
        if len(parts) != 3:
            raise MalformedJwtError(text)
        try:
            header, claims = (_load(part) for part in parts[:2])
            signature = _decode(parts[2])
        except (ValueError, RecursionError) as error:
            raise MalformedJwtError(text) from error
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise MalformedJwtError(text)
        return cls(header, claims, f"{parts[0]}.{parts[1]}".encode(), signature)

    def is_signed_by(self, pem: str) -> bool:
        """Tell whether the owner of a private key signed it, as the header says."""
        key = private_key(pem)
        if self.header.get("alg") != _algorithm(key):
            return False
        try:
            _verify(key, self.signature, self.signed)
        except InvalidSignature:
            return False
        return True


def sign(claims: dict[str, Any], pem: str, **header: str) -> str:
    """Return a token signed with a private key."""
    key = private_key(pem)
    parts = ({"typ": "JWT", "alg": _algorithm(key), **header}, claims)
    signed = b".".join(base64url(json.dumps(part).encode()) for part in parts)
    return (signed + b"." + base64url(_sign(key, signed))).decode()


@lru_cache(maxsize=1024)
def private_key(pem: str) -> PrivateKey:
    """Return the RSA or P-256 key of a PEM text."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, PrivateKey):
        raise TypeError("tokens are signed with RSA or P-256 keys")
    return key


def base64url(data: bytes) -> bytes:
    """Return bytes in the alphabet of JWTs, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _load(text: str) -> Any:
    return json.loads(_decode(text), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    # NaN would pass every comparison of times.
    raise ValueError(name)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error


def _algorithm(key: PrivateKey) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def _sign(key: PrivateKey, signed: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    numbers = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return b"".join(number.to_bytes(_HALF, "big") for number in numbers)


def _verify(key: PrivateKey, signature: bytes, signed: bytes) -> None:
    if isinstance(key, rsa.RSAPrivateKey):
        key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        return
    if len(signature) != 2 * _HALF:
        raise InvalidSignature
    numbers = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    encoded = encode_dss_signature(*numbers)
    key.public_key().verify(encoded, signed, ec.ECDSA(hashes.SHA256()))
