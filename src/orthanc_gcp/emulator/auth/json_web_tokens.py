"""JSON Web Tokens (RFC 7519), read before they are believed.

PyJWT takes them apart, signs them and verifies their signatures (RFC 7515, RFC 7518). It is asked
for the signature only: which claim is judged first, and in which words it is refused, is Google's
way, and stands where tokens are judged.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm

__all__ = [
    "JsonWebToken",
    "MalformedTokenError",
    "PrivateKey",
    "private_key",
    "public_jwk",
    "sign",
]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_signatures = jwt.PyJWS()


class MalformedTokenError(ValueError):
    """The text does not have the three parts of a JWT, or they cannot be read."""


@dataclass(frozen=True)
class JsonWebToken:
    """A token taken apart; nothing in it is to be believed before :meth:`is_signed_by`."""

    header: dict[str, Any]
    claims: dict[str, Any]
    text: str

    @classmethod
    def parse(cls, text: str) -> JsonWebToken:
        """Take a token apart, in its compact form (RFC 7515 section 7.1).

        Raises
        ------
        MalformedTokenError
            It does not have three parts in base64url, or header and claims are no JSON objects.
        """
        try:
            parts = _signatures.decode_complete(text, options={"verify_signature": False})
            claims = json.loads(parts["payload"])
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise MalformedTokenError("this is no JSON Web Token") from error
        if not isinstance(claims, dict):
            raise MalformedTokenError("the claims are no JSON object")
        return cls(parts["header"], claims, text)

    def numeric_date(self, claim: str) -> float | None:
        """Return a claim that is a NumericDate, in seconds since 1970 (RFC 7519 section 2).

        A claim that is missing, or no number that is finite, is none.
        """
        value = self.claims.get(claim)
        try:
            seconds = float(value) if isinstance(value, int | float) else math.nan
        except OverflowError:
            return None
        return seconds if math.isfinite(seconds) else None

    def is_signed_by(self, pem: str) -> bool:
        """Return whether the owner of a private key signed it, by the one algorithm of the key.

        So a token without a signature (``none``), or with one that a public key would make
        (``HS256``), is never believed.
        """
        key = private_key(pem)
        try:
            _signatures.decode_complete(self.text, key.public_key(), [_algorithm(key)])
        except jwt.InvalidTokenError:
            return False
        return True


def sign(claims: dict[str, Any], pem: str, **header: str) -> str:
    """Return a token signed with a private key: RS256 for RSA, ES256 for P-256."""
    key = private_key(pem)
    return jwt.encode(claims, key, _algorithm(key), header)


@lru_cache(maxsize=1024)
def private_key(pem: str) -> PrivateKey:
    """Return the RSA or P-256 key of a PEM text.

    Raises
    ------
    TypeError
        It is a key of another kind.
    """
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, PrivateKey):
        raise TypeError("tokens are signed with RSA or P-256 keys")
    return key


def public_jwk(pem: str, key_id: str) -> dict[str, Any]:
    """Return the public half of a P-256 key as a JSON Web Key (RFC 7517, RFC 7518 section 6.2).

    Raises
    ------
    TypeError
        It is a key of another kind.
    """
    key = private_key(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("this takes a P-256 key")
    public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "alg": _algorithm(key), "use": "sig", "kid": key_id}


def _algorithm(key: PrivateKey) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
