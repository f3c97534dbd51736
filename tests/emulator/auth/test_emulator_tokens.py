"""Tokens for the asking: for curl, and for the workload."""

from __future__ import annotations

import base64

import google.auth.jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.emulator.auth.token_exchange import Service
from tests.emulator.client import Client


def test_the_provider_tells_its_key(service: Service) -> None:
    url = f"{service.emulator.url}/emulator"
    (key,) = service.pool.request("GET", f"{url}/jwks").json()["keys"]
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "="), "big") for name in "xy")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = service.pool.request("GET", f"{url}/subject-token").data
    in_json = service.pool.request("GET", f"{url}/subject-token?format=json").json()["id_token"]
    for token in (text, in_json):
        claims = google.auth.jwt.decode(token, certs={key["kid"]: pem}, verify=True)
        assert claims["sub"] == service.pools.SUBJECT
    assert service.pool.request("POST", f"{url}/subject-token").status == 404


def test_a_token_for_curl(client: Client) -> None:
    token = client.pool.request("GET", f"{client.url}/emulator/token").data.decode()
    answer = client.pool.request(
        "GET", f"{client.web}/studies", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status == 204
    assert client.pool.request("POST", f"{client.url}/emulator/token").status == 404
