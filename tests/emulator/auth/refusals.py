"""What a client reads in the refusal of a search."""

from __future__ import annotations

import json
from typing import Any

from tests.emulator.client import Client


def answer(client: Client, **headers: str) -> tuple[int, str, Any]:
    response = client.pool.request("GET", client.web + "/studies", headers=headers)
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    error = json.loads(response.data)["error"]
    assert error["code"] == response.status
    return response.status, response.headers["www-authenticate"], error


def reason(error: dict[str, Any]) -> str:
    (info,) = error["details"]
    assert info["domain"] == "googleapis.com"
    method = "google.cloud.healthcare.v1.dicomweb.DicomWebService.SearchForStudies"
    assert info["metadata"] == {"service": "healthcare.googleapis.com", "method": method}
    return str(info["reason"])
