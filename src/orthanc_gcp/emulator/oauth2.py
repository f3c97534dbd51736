"""The token endpoint, ``POST /token``: JWT-bearer and refresh_token grants.

Sources: RFC 6749 sections 5 and 6, RFC 7523, and Google's guides for server-to-server and for
installed applications (developers.google.com/identity/protocols/oauth2).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.access_tokens import TokenMint
from orthanc_gcp.emulator.assertions import Assertion, GrantError, check_assertion
from orthanc_gcp.emulator.identities import GOOGLE_TOKEN_URI, Identities, User
from orthanc_gcp.emulator.incoming import origin, read_limited
from orthanc_gcp.emulator.responses import json_answer

__all__ = ["TokenEndpoint"]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_REQUEST_SIZE = 64 * 1024
_KNOWN_SCOPE_PREFIX = "https://www.googleapis.com/auth/"
_OTHER_KNOWN_SCOPES = frozenset({"openid", "email", "profile"})


class TokenEndpoint:
    """Exchanges assertions and refresh tokens for access tokens."""

    def __init__(
        self,
        identities: Identities,
        mint: TokenMint,
        lifetime: int,
        clock: Callable[[], float],
    ) -> None:
        self._identities = identities
        self._mint = mint
        self._lifetime = lifetime
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        form = _parameters(request, await read_limited(request, MAX_REQUEST_SIZE))
        grant = form.get("grant_type", "")
        try:
            if grant == JWT_BEARER:
                own_uri = f"{origin(request)}{request.scope['path']}"
                return self._jwt_bearer(form.get("assertion", ""), own_uri)
            if grant == "refresh_token":
                return self._refresh(form)
        except GrantError as error:
            return _refuse(error.error, error.description, error.status)
        return _refuse("unsupported_grant_type", f"Invalid grant_type: {grant}")

    def _jwt_bearer(self, jwt: str, own_uri: str) -> Response:
        audiences = (GOOGLE_TOKEN_URI, own_uri)
        assertion = check_assertion(jwt, self._identities, audiences, self._clock())
        if not assertion.scopes or not all(map(_is_known_scope, assertion.scopes)):
            # Google answers a scope it does not know with an ID token for that "audience".
            return _answer({"id_token": self._id_token(assertion)})
        token = self._mint.issue(
            assertion.account.email, assertion.scopes, self._lifetime, "ya29.c."
        )
        return _answer(self._bearer(token))

    def _refresh(self, form: dict[str, str]) -> Response:
        user = self._checked_user(form)
        scopes = form.get("scope", "").split() or user.scopes
        if not set(scopes) <= set(user.scopes):
            return _refuse("invalid_scope", "Some requested scopes were invalid.")
        token = self._mint.issue(user.email, scopes, self._lifetime, "ya29.a0.")
        return _answer({**self._bearer(token), "scope": " ".join(scopes)})

    def _checked_user(self, form: dict[str, str]) -> User:
        refresh_token = form.get("refresh_token")
        client_id = form.get("client_id")
        if not client_id:
            raise GrantError("invalid_request", "Could not determine client ID from request.")
        if not self._identities.has_client(client_id):
            raise GrantError("invalid_client", "The OAuth client was not found.", 401)
        if not refresh_token:
            raise GrantError("invalid_request", "Missing required parameter: refresh_token")
        user = self._identities.user(refresh_token)
        owner = next(u for u in self._identities.users if u.client_id == client_id)
        if form.get("client_secret") != owner.client_secret:
            raise GrantError("invalid_client", "The provided client secret is invalid.", 401)
        if user is None or user.revoked or user.client_id != client_id:
            raise GrantError("invalid_grant", "Token has been expired or revoked.")
        return user

    def _bearer(self, token: str) -> dict[str, str | int]:
        # Google announces one second less than the token lives.
        remaining = max(1, self._lifetime - 1)
        return {"access_token": token, "expires_in": remaining, "token_type": "Bearer"}

    def _id_token(self, assertion: Assertion) -> str:
        now = int(self._clock())
        claims = {
            "iss": "https://accounts.google.com",
            "aud": assertion.target_audience or " ".join(assertion.scopes),
            "azp": assertion.account.email,
            "email": assertion.account.email,
            "email_verified": True,
            "sub": assertion.account.client_id,
            "iat": now,
            "exp": now + self._lifetime,
        }
        return self._identities.sign_id_token(claims)


def _parameters(request: Request, body: bytes) -> dict[str, str]:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        try:
            parsed = json.loads(body)
        except ValueError:
            return {}
        return (
            {k: v for k, v in parsed.items() if isinstance(v, str)}
            if isinstance(parsed, dict)
            else {}
        )
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _is_known_scope(scope: str) -> bool:
    return scope.startswith(_KNOWN_SCOPE_PREFIX) or scope in _OTHER_KNOWN_SCOPES


def _answer(body: dict[str, str | int]) -> Response:
    return json_answer(body, headers={"Cache-Control": "no-cache, no-store, max-age=0"})


def _refuse(error: str, description: str, status: int = 400) -> Response:
    body = {"error": error, "error_description": description}
    return json_answer(body, status, {"Cache-Control": "no-cache, no-store, max-age=0"})
