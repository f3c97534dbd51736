"""Signed JWTs of service accounts, checked as Google's token endpoint checks them.

Sources: RFC 7515 (JWS), RFC 7523 (the grant), and "Using OAuth 2.0 for Server to Server
Applications" (developers.google.com) with its table of JWT error codes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from orthanc_gcp.emulator.auth.access_tokens import (
    HEALTHCARE_SCOPES,
    AccessToken,
    ExpiredTokenError,
    InvalidTokenError,
)
from orthanc_gcp.emulator.auth.identities import Identities, ServiceAccount
from orthanc_gcp.emulator.auth.jwt import Jwt, MalformedJwtError
from orthanc_gcp.emulator.http.responses import GrantError

__all__ = ["Assertion", "check_assertion", "check_self_signed"]

HEALTHCARE_AUDIENCE = "https://healthcare.googleapis.com/"
MAX_LIFETIME = 3600
CLOCK_SKEW = 300
_WINDOW = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your 'iat' and 'exp' values in the JWT claim."
)


@dataclass(frozen=True)
class Assertion:
    """A good assertion: who asks, for which scopes or for an ID token for which audience."""

    account: ServiceAccount
    scopes: tuple[str, ...]
    target_audience: str | None


def check_assertion(
    text: str, identities: Identities, audiences: Collection[str], now: float
) -> Assertion:
    """Check an assertion in Google's order: structure, signature, iss, times, scope, aud."""
    try:
        jwt = Jwt.parse(text)
    except MalformedJwtError as error:
        raise GrantError("invalid_request", "Bad Request") from error
    claims = jwt.claims
    account = _signer(jwt, identities)
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


def check_self_signed(text: str, identities: Identities, now: float) -> AccessToken:
    """Check a JWT that a service account signed to use it as an access token.

    It is for an audience, the API as a whole, or for scopes (AIP-4111).
    """
    try:
        jwt = Jwt.parse(text)
        account = _signer(jwt, identities)
        expires = jwt.claims.get("exp")
        if isinstance(expires, int | float) and expires <= now:
            raise ExpiredTokenError
        _check_times(jwt.claims, now)
    except (MalformedJwtError, GrantError) as error:
        raise InvalidTokenError from error
    if jwt.claims.get("sub") != account.email:
        raise InvalidTokenError
    scopes = frozenset(str(jwt.claims.get("scope") or "").split())
    if jwt.claims.get("aud") == HEALTHCARE_AUDIENCE:
        scopes |= set(HEALTHCARE_SCOPES)
    if not scopes:
        raise InvalidTokenError
    return AccessToken(account.email, scopes, float(jwt.claims["exp"]))


def _signer(jwt: Jwt, identities: Identities) -> ServiceAccount:
    if jwt.header.get("alg") != "RS256":
        raise GrantError("invalid_grant", "Invalid JWT Signature.")
    account = identities.service_account(jwt.claims.get("iss"))
    if account is None:
        raise GrantError("invalid_grant", "Invalid grant: account not found")
    key_id = jwt.header.get("kid")
    for known_id, key in identities.keys(account).items():
        if key_id in (None, known_id) and jwt.is_signed_by(key):
            return account
    raise GrantError("invalid_grant", "Invalid JWT Signature.")


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
