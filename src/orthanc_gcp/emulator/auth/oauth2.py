"""The token endpoint, ``POST /token``: JWT-bearer and refresh_token grants.

Sources: RFC 6749 sections 5 and 6, RFC 7523, and Google's guides for server-to-server and for
installed applications (developers.google.com/identity/protocols/oauth2).
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.access_tokens import BEARER, TokenMint
from orthanc_gcp.emulator.auth.assertions import Assertion, check_assertion
from orthanc_gcp.emulator.auth.grants import checked_owner, issued, read_form
from orthanc_gcp.emulator.auth.identities import GOOGLE_TOKEN_URI, Identities
from orthanc_gcp.emulator.faults.refusals import GrantStep, refuse_grant
from orthanc_gcp.emulator.http.requests import origin
from orthanc_gcp.emulator.http.responses import GrantError

__all__ = ["TokenEndpoint"]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_KNOWN_SCOPE_PREFIX = "https://www.googleapis.com/auth/"
_OTHER_KNOWN_SCOPES = frozenset({"openid", "email", "profile"})


class TokenEndpoint:
    """Exchanges assertions and refresh tokens for access tokens.

    A call raises :class:`GrantError` for a grant that Google refuses.
    """

    def __init__(self, identities: Identities, mint: TokenMint, clock: Callable[[], float]) -> None:
        self._identities = identities
        self._mint = mint
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        form = await read_form(request)
        grant = form.get("grant_type", "")
        if grant == JWT_BEARER:
            own_uri = f"{origin(request)}{request.scope['path']}"
            return self._jwt_bearer(form.get("assertion", ""), own_uri)
        if grant == "refresh_token":
            return self._refresh(form)
        raise GrantError("unsupported_grant_type", f"Invalid grant_type: {grant}")

    def _jwt_bearer(self, jwt: str, own_uri: str) -> Response:
        audiences = (GOOGLE_TOKEN_URI, own_uri)
        assertion = check_assertion(jwt, self._identities, audiences, self._clock())
        if not assertion.scopes or not all(map(_is_known_scope, assertion.scopes)):
            # Google answers a scope it does not know with an ID token for that "audience".
            return issued({"id_token": self._id_token(assertion)})
        token = self._mint.issue(assertion.account.email, assertion.scopes, "ya29.c.")
        return issued(self._bearer(token))

    def _refresh(self, form: dict[str, str]) -> Response:
        user = checked_owner(form, self._identities.users)
        if self._identities.is_revoked(user):
            raise GrantError("invalid_grant", "Token has been expired or revoked.")
        refuse_grant(self._identities.refusal, GrantStep.REFRESH_TOKEN)
        scopes = form.get("scope", "").split() or user.scopes
        if not set(scopes) <= set(user.scopes):
            raise GrantError("invalid_scope", "Some requested scopes were invalid.")
        granted = self._mint.granted(scopes)
        token = self._mint.issue(user.email, scopes, "ya29.a0.")
        return issued({**self._bearer(token), "scope": " ".join(granted)})

    def _bearer(self, token: str) -> dict[str, str | int]:
        expires_in = self._mint.expires_in
        return {"access_token": token, "expires_in": expires_in, "token_type": BEARER}

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
            "exp": now + self._mint.lifetime,
        }
        return self._identities.sign_id_token(claims)


def _is_known_scope(scope: str) -> bool:
    return scope.startswith(_KNOWN_SCOPE_PREFIX) or scope in _OTHER_KNOWN_SCOPES
