"""Signed JWTs of service accounts, checked as Google's token endpoint checks them.

Sources: RFC 7515 (JWS), RFC 7523 (the grant), and "Using OAuth 2.0 for Server to Server
Applications" (developers.google.com) with its table of JWT error codes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from orthanc_gcp.emulator.identities import Identities, ServiceAccount

__all__ = ["Assertion", "GrantError", "check_assertion"]

MAX_LIFETIME = 3600
CLOCK_SKEW = 300
_WINDOW = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your 'iat' and 'exp' values in the JWT claim."
)


class GrantError(Exception):
    """A grant is refused: ``error`` and ``error_description`` of RFC 6749, and a status."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


@dataclass(frozen=True)
class Assertion:
    """A good assertion: who asks, for which scopes or for an ID token for which audience."""

    account: ServiceAccount
    scopes: tuple[str, ...]
    target_audience: str | None


def check_assertion(
    jwt: str, identities: Identities, audiences: Collection[str], now: float
) -> Assertion:
    """Check an assertion in Google's order: structure, signature, iss, times, scope, aud."""
    header, claims, signed, signature = _split(jwt)
    account = _signer(header, claims, identities, signed, signature)
    _check_times(claims, now)
    subject = claims.get("sub")
    if subject is not None and subject != account.email:
        raise _refused_subject(subject)
    scopes = tuple(str(claims.get("scope") or "").split())
    target = claims.get("target_audience")
    if not scopes and not isinstance(target, str):
        raise GrantError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    if claims.get("aud") not in audiences:
        raise GrantError("invalid_grant", "Invalid JWT: Failed audience check.")
    return Assertion(account, scopes, target if isinstance(target, str) else None)


def _split(jwt: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    parts = jwt.split(".")
    if len(parts) != 3:
        raise GrantError("invalid_request", "Bad Request")
    try:
        header, claims = (json.loads(_base64url(part)) for part in parts[:2])
        signature = _base64url(parts[2])
    except (ValueError, RecursionError) as error:
        raise GrantError("invalid_request", "Bad Request") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise GrantError("invalid_request", "Bad Request")
    return header, claims, f"{parts[0]}.{parts[1]}".encode(), signature


def _base64url(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error


def _signer(
    header: dict[str, Any],
    claims: dict[str, Any],
    identities: Identities,
    signed: bytes,
    signature: bytes,
) -> ServiceAccount:
    if header.get("alg") != "RS256":
        raise GrantError("invalid_grant", "Invalid JWT Signature.")
    account = identities.service_account(claims.get("iss"))
    if account is None:
        raise GrantError("invalid_grant", "Invalid grant: account not found")
    key_id = header.get("kid")
    for known_id, private_key in account.keys.items():
        if key_id in (None, known_id) and _verifies(private_key, signed, signature):
            return account
    raise GrantError("invalid_grant", "Invalid JWT Signature.")


def _verifies(private_key: str, signed: bytes, signature: bytes) -> bool:
    try:
        _public_key(private_key).verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=1024)
def _public_key(private_key: str) -> rsa.RSAPublicKey:
    key = serialization.load_pem_private_key(private_key.encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the key of a service account is an RSA key")
    return key.public_key()


def _check_times(claims: dict[str, Any], now: float) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if issued is None:
        raise GrantError("invalid_grant", "Invalid JWT: iat (issued at) is not set.")
    if expires is None:
        raise GrantError("invalid_grant", "Invalid JWT: exp (expiration time) is not set.")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        raise GrantError("invalid_request", "Bad Request")
    # A clock that is slow or fast by minutes is common; Google bears five of them.
    too_early = issued > now + CLOCK_SKEW
    too_long = expires - issued > MAX_LIFETIME
    if too_early or too_long or expires <= now:
        raise GrantError("invalid_grant", _WINDOW)


def _refused_subject(subject: object) -> GrantError:
    if not isinstance(subject, str) or "@" not in subject:
        return GrantError("invalid_grant", "Invalid email or User ID")
    return GrantError(
        "unauthorized_client",
        "Client is unauthorized to retrieve access tokens using this method, "
        "or client not authorized for any of the scopes requested.",
        status=401,
    )
