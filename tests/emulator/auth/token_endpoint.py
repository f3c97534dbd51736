"""The token endpoint, asked by hand."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import google.auth.crypt
import google.auth.exceptions
import google.auth.jwt
import google.auth.transport.urllib3
import google.oauth2.credentials
import urllib3

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import HEALTHCARE

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


GOOGLE = "https://oauth2.googleapis.com/token"


class Endpoint:
    """Sends grants that google-auth would not send."""

    def __init__(self, emulator: Emulator) -> None:
        self.pool = urllib3.PoolManager(retries=False)
        self.emulator = emulator
        self.uri = emulator.token_uri
        self.key = emulator.identities.service_accounts[0].key_file(self.uri)
        self.user = emulator.identities.users[0].credential_file()

    def post(self, **form: str) -> tuple[int, Any]:
        response = self.pool.request(
            "POST",
            self.uri,
            body=urlencode(form),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert response.headers["content-type"] == "application/json; charset=UTF-8"
        return response.status, response.json()

    def assertion(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        signer = google.auth.crypt.RSASigner.from_service_account_info(self.key)
        now = int(time.time())
        payload = {
            "iss": self.key["client_email"],
            "aud": GOOGLE,
            "scope": HEALTHCARE,
            "iat": now,
            "exp": now + 3600,
            **claims,
        }
        kept = {name: value for name, value in payload.items() if value is not None}
        return google.auth.jwt.encode(signer, kept, header).decode()

    def bearer(self, jwt: str) -> tuple[int, Any]:
        return self.post(grant_type=JWT_BEARER, assertion=jwt)

    def refresh(self, **changed: str) -> tuple[int, Any]:
        names = ("client_id", "client_secret", "refresh_token")
        form = {name: self.user[name] for name in names} | changed
        kept = {name: value for name, value in form.items() if value}
        return self.post(grant_type="refresh_token", **kept)


def refuses(error: str, description: str, status: int = 400) -> tuple[int, dict[str, str]]:
    return status, {"error": error, "error_description": description}
