"""Tokens for the asking, which Google does not hand out: for those who have only curl.

The identity provider of the workload is one of them: clients fetch subject tokens from it.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.access_tokens import CLOUD_PLATFORM, TokenMint
from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.http.responses import Refusal, json_answer, page_not_found

__all__ = ["AccessTokenEndpoint", "SubjectTokenEndpoint"]


class AccessTokenEndpoint:
    """Hands out access tokens of the first service account, as a text.

    A call raises :class:`Refusal`, the 404 page, for other methods than GET.
    """

    PATH = "/emulator/token"

    def __init__(self, identities: Identities, mint: TokenMint) -> None:
        self._identities = identities
        self._mint = mint

    def new(self) -> str:
        """Return a token of its own for who asks."""
        email = self._identities.service_accounts[0].email
        return self._mint.issue(email, [CLOUD_PLATFORM], "ya29.c.")

    async def __call__(self, request: Request) -> Response:
        if request.method != "GET":
            raise Refusal(page_not_found())
        return Response(self.new(), media_type="text/plain")


class SubjectTokenEndpoint:
    """The provider that signs the workload's own tokens, and shows its public key (RFC 7517).

    A call raises :class:`Refusal`, the 404 page, for other methods than GET.
    """

    PATH = "/emulator/subject-token"
    KEYS = "/emulator/jwks"

    def __init__(self, identities: Identities, clock: Callable[[], float]) -> None:
        self._identities = identities
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        if request.method != "GET":
            raise Refusal(page_not_found())
        if request.scope["path"] == self.KEYS:
            return json_answer(self._identities.jwks())
        token = self._identities.subject_token(self._clock())
        if request.query_params.get("format") == "json":
            return json_answer({"id_token": token})
        return Response(token, media_type="text/plain")
