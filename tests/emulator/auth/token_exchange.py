"""The Security Token Service, asked by hand."""

from __future__ import annotations

import time
from typing import Any

import urllib3

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import HEALTHCARE

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


JWT = "urn:ietf:params:oauth:token-type:jwt"


AWS = "urn:ietf:params:aws:token-type:aws4_request"


MTLS = "urn:ietf:params:oauth:token-type:mtls"


class Service:
    """Sends exchanges that google-auth would not send."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.pool = urllib3.PoolManager(retries=False, timeout=10)
        self.pools = emulator.identities.pools

    def post(self, path: str, **form: str) -> tuple[int, Any]:
        url = f"{self.emulator.url}{path}"
        kept = {name: value for name, value in form.items() if value}
        response = self.pool.request("POST", url, fields=kept, encode_multipart=False)
        return response.status, response.json()

    def exchange(self, token: str = "", **changed: str) -> tuple[int, Any]:
        form = {
            "grant_type": EXCHANGE,
            "requested_token_type": ACCESS_TOKEN,
            "audience": self.pools.oidc,
            "scope": HEALTHCARE,
            "subject_token_type": JWT,
            "subject_token": token or self.subject_token(),
        }
        return self.post("/v1/token", **form | changed)

    def subject_token(self, **claims: Any) -> str:
        return self.emulator.identities.subject_token(time.time(), **claims)

    def refuses(self, *arguments: str, **changed: str) -> tuple[str, str]:
        status, body = self.exchange(*arguments, **changed)
        assert status == 400
        return body["error"], body["error_description"]
