"""A client of an emulator whose fault settings a test changes."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import google.auth.exceptions
import google.auth.transport.urllib3
import google.oauth2.credentials
import pytest
import urllib3
from google.oauth2 import service_account

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import HEALTHCARE, Client


class Adjustable:
    """A client of an emulator that can be broken."""

    def __init__(self, emulator: Emulator, client: Client) -> None:
        self.emulator = emulator
        self.client = client
        self.change = emulator.fault_settings.change
        self.request = google.auth.transport.urllib3.Request(client.pool)
        self.account = service_account.Credentials.from_service_account_info(
            emulator.identities.service_accounts[0].key_file(emulator.token_uri),
            scopes=[HEALTHCARE],
        )

    def refused(self) -> str:
        """Return why the key gets no token."""
        with pytest.raises(google.auth.exceptions.RefreshError) as caught:
            self.account.refresh(self.request)
        return str(caught.value)

    def post(self) -> urllib3.BaseHTTPResponse:
        user = self.emulator.identities.users[0]
        form = {
            "grant_type": "refresh_token",
            "refresh_token": user.refresh_token,
            "client_id": user.client_id,
            "client_secret": user.client_secret,
        }
        return self.client.pool.request("POST", self.emulator.token_uri, body=urlencode(form))

    def error(self, **headers: str) -> dict[str, Any]:
        """Return the refusal of a search."""
        answer = self.client.request("GET", "/studies", **headers)
        assert answer.status == 403
        return dict(answer.json()["error"])
