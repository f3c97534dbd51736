"""JSON Web Tokens: what is one, who signed it, and numbers that are no dates."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import google.auth.jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from orthanc_gcp.emulator.auth.json_web_tokens import (
    JsonWebToken,
    MalformedTokenError,
    private_key,
    public_jwk,
    sign,
)


def pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


RSA = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
P256 = pem(ec.generate_private_key(ec.SECP256R1()))
CLAIMS = {"iss": "me@example.org", "iat": 1, "exp": 2.5}


def public(key: str) -> bytes:
    return (
        private_key(key)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def encoded(part: object) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (P256, "ES256")])
def test_what_is_signed_can_be_read_and_verified(key: str, algorithm: str) -> None:
    text = sign(CLAIMS, key, kid="one")
    token = JsonWebToken.parse(text)
    assert token.header == {"alg": algorithm, "kid": "one", "typ": "JWT"}
    assert token.claims == CLAIMS
    assert token.is_signed_by(key)
    payload = google.auth.jwt.decode(text, certs={"one": public(key)}, verify=False)
    assert payload == CLAIMS


@pytest.mark.parametrize(("key", "other"), [(RSA, P256), (P256, RSA)])
def test_a_key_of_another_kind_signed_nothing(key: str, other: str) -> None:
    assert not JsonWebToken.parse(sign(CLAIMS, key)).is_signed_by(other)


@pytest.mark.parametrize("key", [RSA, P256])
def test_claims_that_were_changed(key: str) -> None:
    head, _, signature = sign(CLAIMS, key).split(".")
    forged = ".".join((head, encoded({**CLAIMS, "iss": "you"}), signature))
    assert not JsonWebToken.parse(forged).is_signed_by(key)
    assert not JsonWebToken.parse(f"{head}.{encoded(CLAIMS)}.AAAA").is_signed_by(key)


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "None"}, {}, {"alg": ["RS256"]}])
def test_a_token_without_a_signature_is_signed_by_nobody(header: dict[str, Any]) -> None:
    token = JsonWebToken.parse(f"{encoded(header)}.{encoded(CLAIMS)}.")
    assert not token.is_signed_by(RSA)


def test_a_public_key_makes_no_signature() -> None:
    signed = f"{encoded({'alg': 'HS256'})}.{encoded(CLAIMS)}"
    mac = hmac.digest(public(RSA), signed.encode(), hashlib.sha256)
    assert not JsonWebToken.parse(f"{signed}.{encoded(mac)}").is_signed_by(RSA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c",
        "W10.W10.W10",
        "e30.e30.!",
        "é.é.é",
        "\ud800.e30.e30",
        f"{encoded([])}.{encoded({})}.",
        f"{encoded({})}.{encoded([])}.",
        f"{encoded({})}.{encoded(b'[' * 100_000)}.",
        f"{encoded({})}.{encoded(b'x')}.",
        f"{encoded({})}.{encoded({})}.AA.AA",
    ],
)
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(MalformedTokenError) as caught:
        JsonWebToken.parse(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1.0),
        ("2.5", 2.5),
        ("null", None),
        ('"1"', None),
        ("NaN", None),
        ("1e999", None),
        ("1" + "0" * 400, None),
        ("[]", None),
    ],
)
def test_numeric_dates(value: str, seconds: float | None) -> None:
    claims = f'{{"exp": {value}}}'.encode()
    token = JsonWebToken.parse(f"{encoded({})}.{encoded(claims)}.")
    assert token.numeric_date("exp") == seconds
    assert token.numeric_date("iat") is None


def test_a_public_key_as_json() -> None:
    key = public_jwk(P256, "one")
    assert (key["alg"], key["use"], key["kid"], key["crv"]) == ("ES256", "sig", "one", "P-256")
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "="), "big") for name in "xy")
    numbers = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1())
    assert numbers.public_key() == private_key(P256).public_key()
    assert "d" not in key
    with pytest.raises(TypeError):
        public_jwk(RSA, "one")


def test_keys_of_other_kinds() -> None:
    with pytest.raises(TypeError, match="RSA or P-256"):
        private_key(pem(ed25519.Ed25519PrivateKey.generate()))
