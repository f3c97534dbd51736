"""The metadata server of a virtual machine, as far as identities go.

Source: "VM metadata" and "Authenticate workloads" (cloud.google.com/compute/docs), and what
google-auth asks for (``google/auth/compute_engine/_metadata.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.access_tokens import CLOUD_PLATFORM, TokenMint
from orthanc_gcp.emulator.auth.identities import Identities, ServiceAccount
from orthanc_gcp.emulator.faults.refusals import MetadataRefusal
from orthanc_gcp.emulator.http.responses import Refusal, html_error, json_answer, page_not_found

__all__ = ["GceMetadataServer"]

ROOT = "/computeMetadata/v1/"
_ACCOUNTS = "instance/service-accounts/"
_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_SHARED_TIME = 300


class GceMetadataServer:
    """Answers what a workload asks about the machine it runs on.

    A token is handed out again until shortly before its end, as the real server does: a client
    that asks too early gets the token that it has.

    A call raises :class:`Refusal`: 403 without the header ``Metadata-Flavor: Google`` or by way of
    a proxy, 404 for what there is not, 400 for an ID token without an audience; and in the place of
    an access token what the fault settings name.
    """

    def __init__(self, identities: Identities, mint: TokenMint, clock: Callable[[], float]) -> None:
        self._identities = identities
        self._mint = mint
        self._clock = clock
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}

    def serves(self, request: Request) -> bool:
        """Return whether a request is one for the metadata server."""
        path = request.scope["path"]
        if path == "/":
            return "metadata-flavor" in request.headers
        return bool(path.startswith("/computeMetadata/"))

    def __call__(self, request: Request) -> Response:
        if request.method != "GET":
            raise Refusal(page_not_found())
        if request.headers.get("metadata-flavor", "").lower() != "google":
            raise Refusal(html_error(403, "Missing Metadata-Flavor:Google header."))
        if "x-forwarded-for" in request.headers:
            # The request came through a proxy: perhaps from another machine.
            raise Refusal(html_error(403, "X-Forwarded-For is not allowed."))
        path = request.scope["path"]
        answer = "computeMetadata/\n" if path == "/" else self._find(path, request)
        if answer is None:
            raise Refusal(html_error(404, "There is no such metadata.", _FLAVOR))
        if isinstance(answer, str):
            return Response(answer, headers=_FLAVOR, media_type="application/text")
        return json_answer(answer, headers={**_FLAVOR, "Content-Type": "application/json"})

    def _find(self, path: str, request: Request) -> str | dict[str, Any] | None:
        """Return a text, an object, or nothing when there is no such path."""
        account = self._identities.service_accounts[0]
        name = path.removeprefix(ROOT)
        texts = {
            "project/project-id": account.project,
            "project/numeric-project-id": self._identities.pools.project_number,
            _ACCOUNTS: f"default/\n{account.email}/\n",
        }
        if name in texts or not name.startswith(_ACCOUNTS):
            return texts.get(name)
        email, _, entry = name.removeprefix(_ACCOUNTS).partition("/")
        if email not in ("default", account.email):
            return None
        return self._of(account, entry, request)

    def _of(
        self, account: ServiceAccount, entry: str, request: Request
    ) -> str | dict[str, Any] | None:
        scopes = self._mint.granted([CLOUD_PLATFORM])
        query = request.query_params
        if entry == "token":
            asked = query.get("scopes", "").replace(",", " ").split()
            return self._token(account, self._mint.granted(asked or scopes))
        if entry == "identity":
            return self._id_token(account, query.get("audience"))
        if entry == "" and query.get("recursive", "").lower() == "true":
            return {"aliases": ["default"], "email": account.email, "scopes": list(scopes)}
        texts = {
            "": "aliases\nemail\nidentity\nscopes\ntoken\n",
            "aliases": "default\n",
            "email": account.email,
            "scopes": "".join(f"{scope}\n" for scope in scopes),
        }
        return texts.get(entry)

    def _token(self, account: ServiceAccount, scopes: tuple[str, ...]) -> dict[str, Any]:
        refusal = self._identities.refusal
        if isinstance(refusal, MetadataRefusal):
            raise Refusal(refusal.response(account.email))
        now, key = self._clock(), (account.email, *scopes)
        token, end = self._tokens.get(key, ("", 0.0))
        if end - now <= min(_SHARED_TIME, self._mint.lifetime / 10):
            token = self._mint.issue(account.email, scopes, "ya29.c.")
            end = now + self._mint.lifetime
            self._tokens[key] = token, end
        expires_in = max(1, min(int(end - now), self._mint.expires_in))
        return {"access_token": token, "expires_in": expires_in, "token_type": "Bearer"}

    def _id_token(self, account: ServiceAccount, audience: str | None) -> str:
        if not audience:
            raise Refusal(html_error(400, "non-empty audience parameter required"))
        now = int(self._clock())
        claims = {
            "iss": "https://accounts.google.com",
            "aud": audience,
            "azp": account.client_id,
            "email": account.email,
            "email_verified": True,
            "sub": account.client_id,
            "iat": now,
            "exp": now + 3600,
        }
        return self._identities.sign_id_token(claims)
