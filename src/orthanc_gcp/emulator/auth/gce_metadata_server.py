"""The metadata server of a virtual machine: a tree of directories, with the machine's identity.

Sources: "VM metadata" and "Authenticate workloads" (cloud.google.com/compute/docs), and what
Google's libraries ask for: google-auth (``google/auth/compute_engine/_metadata.py``), and
gcp-metadata of npm, for which a machine is one that has ``/computeMetadata/v1/instance``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.access_tokens import BEARER, CLOUD_PLATFORM, TokenMint
from orthanc_gcp.emulator.auth.identities import Identities, ServiceAccount
from orthanc_gcp.emulator.faults.refusals import MetadataRefusal
from orthanc_gcp.emulator.http.responses import Refusal, html_error, json_answer, page_not_found

__all__ = ["GceMetadataServer"]

_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_SHARED_TIME = 300

Directory = dict[str, Any]
"""Directories, texts, numbers, lists, and functions for what each request gets anew."""


class GceMetadataServer:
    """Answers what a workload asks about the machine it runs on.

    A token is handed out again until shortly before its end, as the real server does: a client
    that asks too early gets the token that it has. A directory is listed as a text, or given
    whole as JSON for ``recursive=true``; without the slash at its end it is a redirection there.

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
        path, query = request.scope["path"], request.query_params
        entry = self._find(path)
        if isinstance(entry, dict) and not path.endswith("/"):
            location = request.url.replace(scheme="", netloc="", path=f"{path}/")
            return Response(status_code=301, headers={**_FLAVOR, "Location": str(location)})
        if callable(entry):
            entry = entry(query)
            return _json(entry) if isinstance(entry, dict) else _text(entry)
        is_recursive = isinstance(entry, dict) and query.get("recursive", "").lower() == "true"
        if query.get("alt", "json" if is_recursive else "text") == "json":
            return _json(_without_functions(entry))
        return _text(_listing(entry))

    def _find(self, path: str) -> Any:
        """Return what stands at a path; raise :class:`Refusal`, 404, where there is nothing."""
        *directories, name = path.removeprefix("/").split("/")
        found: Any = self._tree()
        for step in (*directories, name) if name else directories:
            found = found.get(step) if isinstance(found, dict) else None
        if found is None or (name == "" and not isinstance(found, dict)):
            raise Refusal(html_error(404, "There is no such metadata.", _FLAVOR))
        return found

    def _tree(self) -> Directory:
        account = self._identities.service_accounts[0]
        number = self._identities.pools.project_number
        own = self._of(account)
        instance = {
            "attributes": {},
            "id": 4520031799277581759,
            "name": "emulator",
            "service-accounts": {"default": own, account.email: own},
            "zone": f"projects/{number}/zones/europe-west2-a",
        }
        project = {
            "attributes": {},
            "numeric-project-id": int(number),
            "project-id": account.project,
        }
        universe = {"universe-domain": "googleapis.com"}
        version = {"instance": instance, "project": project, "universe": universe}
        return {"computeMetadata": {"v1": version}}

    def _of(self, account: ServiceAccount) -> Directory:
        scopes = self._mint.granted([CLOUD_PLATFORM])

        def token(query: QueryParams) -> dict[str, Any]:
            asked = query.get("scopes", "").replace(",", " ").split()
            return self._token(account, self._mint.granted(asked or scopes))

        return {
            "aliases": ["default"],
            "email": account.email,
            "identity": lambda query: self._id_token(account, query.get("audience")),
            "scopes": list(scopes),
            "token": token,
        }

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
        return {"access_token": token, "expires_in": expires_in, "token_type": BEARER}

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


def _text(text: str) -> Response:
    return Response(text, headers=_FLAVOR, media_type="application/text")


def _json(value: Any) -> Response:
    return json_answer(value, headers={**_FLAVOR, "Content-Type": "application/json"})


def _listing(entry: Any) -> str:
    """Return an entry as a text: of a directory the names, of a list a line for each value."""
    if isinstance(entry, dict):
        names = (f"{name}/" if isinstance(below, dict) else name for name, below in entry.items())
        return "".join(f"{name}\n" for name in names)
    return "".join(f"{value}\n" for value in entry) if isinstance(entry, list) else str(entry)


def _without_functions(entry: Any) -> Any:
    """Return an entry for JSON, whose names are in camel case, but for the accounts' own."""
    if not isinstance(entry, dict):
        return entry
    return {
        name
        if "@" in name
        else re.sub("-(.)", lambda found: found[1].upper(), name): _without_functions(below)
        for name, below in entry.items()
        if not callable(below)
    }
