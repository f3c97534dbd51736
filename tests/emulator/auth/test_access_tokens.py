"""Access tokens: what they say, for how long, and what is none."""

from __future__ import annotations

import base64
import json

import pytest

from orthanc_gcp.emulator.auth.access_tokens import (
    CLOUD_PLATFORM,
    AccessToken,
    ExpiredTokenError,
    InvalidTokenError,
    TokenMint,
)
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from tests.emulator.adjustable import Adjustable


def test_scopes_that_are_not_granted(adjustable: Adjustable) -> None:
    adjustable.change(grantedScopes=["openid"])
    assert adjustable.post().json()["scope"] == "openid"
    adjustable.account.refresh(adjustable.request)
    adjustable.client.token = str(adjustable.account.token)
    assert "insufficient authentication scopes" in adjustable.error()["message"]


NOW = 1_000_000.0


def mint(now: float = NOW, secret: bytes = b"secret", **settings: object) -> TokenMint:
    return TokenMint(secret, lambda: now, 3600, FaultSettings(settings))


def test_a_token_says_who_and_what_and_until_when() -> None:
    token = mint().issue("me@example.org", ["b", "a"], "ya29.c.")
    assert token.startswith("ya29.c.")
    assert mint().read(token) == AccessToken("me@example.org", frozenset("ab"), NOW + 3600)
    assert mint().issue("me@example.org", ["b", "a"], "ya29.c.") != token


def test_scopes_of_a_token() -> None:
    token = AccessToken("me", frozenset({"a", "b"}), NOW)
    assert token.has_scope("c", "a")
    assert not token.has_scope("c", "d")


def test_a_token_ends() -> None:
    token, short = mint().issue("me", [], ""), mint().issue("me", [], "", 5)
    assert mint(NOW + 3599).read(token).expires == NOW + 3600
    with pytest.raises(ExpiredTokenError):
        mint(NOW + 3600).read(token)
    with pytest.raises(ExpiredTokenError):
        mint(NOW + 5).read(short)
    assert (mint().expires_in, mint().lifetime) == (3599, 3600)


def test_a_token_that_was_changed() -> None:
    token = mint().issue("me", [CLOUD_PLATFORM], "")
    blob = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    payload = json.loads(blob[16:])
    payload[0] = "you"
    forged = bytes(blob[:16]) + json.dumps(payload, separators=(",", ":")).encode()
    for changed in (base64.urlsafe_b64encode(forged).decode(), "", "AAAA", "é", token[1:]):
        with pytest.raises(InvalidTokenError):
            mint().read(changed)
    with pytest.raises(InvalidTokenError):
        mint(secret=b"another").read(token)


def test_the_scopes_that_all_tokens_get() -> None:
    token = mint(grantedScopes=["x"]).issue("me", ["a"], "")
    assert mint().read(token).scopes == {"x"}
    assert mint().granted(["a"]) == ("a",)
