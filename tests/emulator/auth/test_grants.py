"""What the token endpoints have in common: forms, clients, refresh tokens."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.auth.token_endpoint import JWT_BEARER, Endpoint, refuses
from tests.emulator.auth.token_exchange import Service


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"client_id": "x"}, refuses("invalid_client", "The OAuth client was not found.", 401)),
        (
            {"client_secret": "x"},
            refuses("invalid_client", "The provided client secret is invalid.", 401),
        ),
        (
            {"refresh_token": "x"},
            refuses("invalid_grant", "Token has been expired or revoked."),
        ),
        (
            {"refresh_token": ""},
            refuses("invalid_request", "Missing required parameter: refresh_token"),
        ),
        (
            {"client_id": ""},
            refuses("invalid_request", "Could not determine client ID from request."),
        ),
    ],
)
def test_refused_refresh_tokens(endpoint: Endpoint, changed: dict[str, str], expected: Any) -> None:
    assert endpoint.refresh(**changed) == expected


def test_json_is_as_good_as_a_form(endpoint: Endpoint) -> None:
    body = {"grant_type": JWT_BEARER, "assertion": endpoint.assertion()}
    response = endpoint.pool.request("POST", endpoint.uri, json=body)
    assert response.status == 200


def test_a_huge_request_is_not_read(endpoint: Endpoint) -> None:
    response = endpoint.pool.request("POST", endpoint.uri, body=b"a" * 1_000_000)
    assert response.status == 400


def test_a_client_that_cannot_authenticate(service: Service) -> None:
    url = f"{service.emulator.url}/v1/oauthtoken"
    for header in ("Basic !", "Basic eDp5", "Bearer x"):
        answer = service.pool.request(
            "POST",
            url,
            fields={"grant_type": "refresh_token", "refresh_token": "x"},
            encode_multipart=False,
            headers={"Authorization": header},
        )
        assert answer.status in (400, 401)
