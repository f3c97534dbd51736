"""The Security Token Service, ``POST /v1/token`` and ``POST /v1/oauthtoken``.

Sources: RFC 8693; STS REST reference, method ``token``; "Workload identity federation" for what
each kind of provider takes as a subject token.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID
from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.access_tokens import BEARER, TokenMint
from orthanc_gcp.emulator.auth.grants import (
    checked_owner,
    issued,
    read_form,
    with_basic,
)
from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.auth.json_web_tokens import JsonWebToken, MalformedTokenError
from orthanc_gcp.emulator.faults.refusals import GrantStep, refuse_grant
from orthanc_gcp.emulator.http.responses import GrantError

__all__ = ["AuthorizedUserEndpoint", "TokenExchange"]

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name # nosec B105
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name # nosec B105
_JWT_TYPES = (
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
)
_AWS_TYPE = "urn:ietf:params:aws:token-type:aws4_request"
_CERTIFICATE_TYPE = "urn:ietf:params:oauth:token-type:mtls"
_INVALID_TARGET = (
    'The target service indicated by the "audience" parameters is invalid. This might either be '
    "because the pool or provider is disabled or deleted or because it doesn't exist."
)
_CLOCK_SKEW = 300
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, RecursionError)
"""What reading JSON of any shape raises."""


class TokenExchange:
    """Exchanges what other identity providers issue for federated access tokens.

    A call raises :class:`GrantError` for an exchange that Google refuses.
    """

    def __init__(self, identities: Identities, mint: TokenMint, clock: Callable[[], float]) -> None:
        self._identities = identities
        self._pools = identities.pools
        self._mint = mint
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        form = await read_form(request)
        if form.get("grant_type") != TOKEN_EXCHANGE:
            raise GrantError("unsupported_grant_type", "Invalid grant_type")
        if form.get("requested_token_type") != ACCESS_TOKEN:
            raise GrantError("invalid_request", "Invalid requested_token_type")
        for name in ("audience", "subject_token", "subject_token_type", "scope"):
            if not form.get(name):
                raise GrantError("invalid_request", f"Missing required parameter: {name}")
        subject = self._subject(form["audience"], form["subject_token_type"], form["subject_token"])
        refuse_grant(self._identities.refusal, GrantStep.ATTRIBUTES)
        principal = self._pools.workload_principal(subject)
        return issued(
            {
                "access_token": self._mint.issue(principal, form["scope"].split(), "ya29.d."),
                "issued_token_type": ACCESS_TOKEN,
                "token_type": BEARER,
                "expires_in": self._mint.expires_in,
            }
        )

    def _subject(self, audience: str, kind: str, token: str) -> str:
        """Return who a token is about, by the provider that the audience names."""
        readers = {
            self._pools.oidc: (_JWT_TYPES, self._read_jwt),
            self._pools.aws: ((_AWS_TYPE,), self._read_signed_request),
            self._pools.x509: ((_CERTIFICATE_TYPE,), _read_certificates),
        }
        if audience not in readers:
            raise GrantError("invalid_target", _INVALID_TARGET)
        kinds, read = readers[audience]
        if kind not in kinds:
            raise GrantError("invalid_request", f"Invalid subject_token_type: {kind}")
        return read(token)

    def _read_jwt(self, text: str) -> str:
        try:
            token = JsonWebToken.parse(text)
        except MalformedTokenError as error:
            raise GrantError("invalid_grant", "Unable to parse the ID Token.") from error
        claims, pools = token.claims, self._pools
        if claims.get("iss") != pools.ISSUER:
            raise GrantError(
                "invalid_grant",
                f"The issuer in ID Token {claims.get('iss')} does not match the expected ones: "
                f"{pools.ISSUER}.",
            )
        refuse_grant(self._identities.refusal, GrantStep.ISSUER)
        if not self._identities.signed_subject_token(token):
            raise GrantError("invalid_grant", "Invalid ID Token signature.")
        audience = claims.get("aud")
        given = audience if isinstance(audience, list) else [audience]
        if not {pools.oidc, pools.oidc_token_audience} & {str(name) for name in given}:
            raise GrantError(
                "invalid_grant",
                f"The audience in ID Token [{', '.join(map(str, given))}] does not match the "
                f"expected audience {pools.oidc_token_audience}.",
            )
        self._check_times(token)
        if not claims.get("sub"):
            raise GrantError("invalid_grant", "The mapped attribute google.subject is empty.")
        return str(claims["sub"])

    def _check_times(self, token: JsonWebToken) -> None:
        issued_at, expires = token.numeric_date("iat"), token.numeric_date("exp")
        if issued_at is None or expires is None:
            raise GrantError("invalid_grant", "The ID Token lacks 'iat' or 'exp'.")
        now = self._clock()
        if expires <= now:
            description = f"ID Token issued at {issued_at:.0f} is stale to sign-in."
            raise GrantError("invalid_grant", description)
        refuse_grant(self._identities.refusal, GrantStep.AGE, issued_at)
        if issued_at > now + _CLOCK_SKEW:
            raise GrantError("invalid_grant", f"ID Token issued in the future: {issued_at:.0f}.")

    def _read_signed_request(self, token: str) -> str:
        """Read a request for GetCallerIdentity; its signature is not verified."""
        try:
            signed = json.loads(unquote(token))
            headers = {item["key"].lower(): item["value"] for item in signed["headers"]}
            address = urlsplit(signed["url"])
            credential = headers["authorization"].split("Credential=")[1].split("/")[0]
        except (*_UNREADABLE, AttributeError) as error:
            raise GrantError("invalid_grant", "Invalid AWS subject token.") from error
        if headers.get("x-goog-cloud-target-resource") != self._pools.aws:
            raise GrantError(
                "invalid_grant",
                "The x-goog-cloud-target-resource header does not match the audience.",
            )
        is_identity_call = (
            signed.get("method") == "POST"
            and address.scheme == "https"
            and (address.hostname or "").endswith(".amazonaws.com")
            and "Action=GetCallerIdentity" in address.query.split("&")
            and headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
            and "x-amz-date" in headers
        )
        if not is_identity_call:
            raise GrantError("invalid_grant", "Invalid AWS subject token.")
        return f"arn:aws:sts::000000000000:assumed-role/orthanc/{credential}"


def _read_certificates(token: str) -> str:
    """Read a chain of certificates; their signatures are not verified."""
    try:
        chain = json.loads(token)
        leaf = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
        name = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    except (*_UNREADABLE, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise GrantError("invalid_grant", "Invalid certificate chain.") from error
    return str(name)


class AuthorizedUserEndpoint:
    """Exchanges refresh tokens of people who logged in by a workforce pool.

    A call raises :class:`GrantError` for a client or refresh token that is not good.
    """

    def __init__(self, identities: Identities, mint: TokenMint) -> None:
        self._identities = identities
        self._mint = mint

    async def __call__(self, request: Request) -> Response:
        form = with_basic(await read_form(request), request)
        if form.get("grant_type") != "refresh_token":
            raise GrantError("unsupported_grant_type", "Invalid grant_type")
        user = checked_owner(form, self._identities.workforce)
        if self._identities.is_revoked(user):
            raise GrantError("invalid_grant", "Token has been expired or revoked.")
        principal = self._identities.pools.workforce_principal(user.email)
        return issued(
            {
                "access_token": self._mint.issue(principal, user.scopes, "ya29.d."),
                "token_type": BEARER,
                "expires_in": self._mint.expires_in,
                "scope": " ".join(self._mint.granted(user.scopes)),
            }
        )
