"""Signed JWTs of service accounts, checked as Google's token endpoint checks them.

Sources: RFC 7515 (JWS), RFC 7523 (the grant), and "Using OAuth 2.0 for Server to Server
Applications" (developers.google.com) with its table of JWT error codes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from orthanc_gcp.emulator.auth.access_tokens import (
    HEALTHCARE_SCOPES,
    AccessToken,
    ExpiredTokenError,
    InvalidTokenError,
)
from orthanc_gcp.emulator.auth.identities import Identities, ServiceAccount
from orthanc_gcp.emulator.auth.json_web_tokens import JsonWebToken, MalformedTokenError
from orthanc_gcp.emulator.faults.refusals import GrantStep, refuse_grant
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
    """Check an assertion in Google's order: structure, signature, iss, times, scope, aud.

    Parameters
    ----------
    audiences : collection of str
        What ``aud`` may be: the addresses of the token endpoint.
    now : float
        The time, in seconds since 1970; clocks may differ by five minutes.

    Raises
    ------
    GrantError
        With the error and the description by which Google refuses it.
    """
    try:
        token = JsonWebToken.parse(text)
    except MalformedTokenError as error:
        raise GrantError("invalid_request", "Bad Request") from error
    claims = token.claims
    account = _signer(token, identities)
    _check_times(token, now)
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

    Raises
    ------
    ExpiredTokenError
        Its time is over.
    InvalidTokenError
        It is no such JWT for any other reason.
    """
    try:
        token = JsonWebToken.parse(text)
        account = _signer(token, identities)
        expires = token.numeric_date("exp")
        if expires is not None and expires <= now:
            raise ExpiredTokenError
        expires = _check_times(token, now)
    except (MalformedTokenError, GrantError) as error:
        raise InvalidTokenError from error
    if token.claims.get("sub") != account.email:
        raise InvalidTokenError
    scopes = frozenset(str(token.claims.get("scope") or "").split())
    if token.claims.get("aud") == HEALTHCARE_AUDIENCE:
        scopes |= set(HEALTHCARE_SCOPES)
    if not scopes:
        raise InvalidTokenError
    return AccessToken(account.email, scopes, expires)


def _signer(token: JsonWebToken, identities: Identities) -> ServiceAccount:
    if token.header.get("alg") != "RS256":
        raise GrantError("invalid_grant", "Invalid JWT Signature.")
    account = identities.service_account(token.claims.get("iss"))
    if account is None:
        raise GrantError("invalid_grant", "Invalid grant: account not found")
    refuse_grant(identities.refusal, GrantStep.ACCOUNT)
    refuse_grant(identities.refusal, GrantStep.KEY)
    key_id = token.header.get("kid")
    for known_id, key in identities.keys(account).items():
        if key_id in (None, known_id) and token.is_signed_by(key):
            return account
    raise GrantError("invalid_grant", "Invalid JWT Signature.")


def _check_times(token: JsonWebToken, now: float) -> float:
    """Return when a token ends; refuse it when it is not good now, or for too long."""
    if token.claims.get("iat") is None:
        raise GrantError("invalid_grant", "Invalid JWT: iat (issued at) is not set.")
    if token.claims.get("exp") is None:
        raise GrantError("invalid_grant", "Invalid JWT: exp (expiration time) is not set.")
    issued, expires = token.numeric_date("iat"), token.numeric_date("exp")
    if issued is None or expires is None:
        raise GrantError("invalid_request", "Bad Request")
    # A clock that is slow or fast by minutes is common; Google bears five of them.
    too_early = issued > now + CLOCK_SKEW
    too_long = expires - issued > MAX_LIFETIME
    if too_early or too_long or expires <= now:
        raise GrantError("invalid_grant", _WINDOW)
    return expires


def _refused_subject(subject: object) -> GrantError:
    if not isinstance(subject, str) or "@" not in subject:
        return GrantError("invalid_grant", "Invalid email or User ID")
    return GrantError(
        "unauthorized_client",
        "Client is unauthorized to retrieve access tokens using this method, "
        "or client not authorized for any of the scopes requested.",
        status=401,
    )
