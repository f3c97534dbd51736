"""Access tokens: opaque to clients, self-contained for the emulator.

A token carries who it is for, its scopes and its end, signed with a secret that outlives a
restart. So the emulator needs no table of tokens, however many it hands out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = [
    "HEALTHCARE_SCOPES",
    "AccessToken",
    "ExpiredTokenError",
    "InvalidTokenError",
    "TokenMint",
]

HEALTHCARE_SCOPES = (
    "https://www.googleapis.com/auth/cloud-healthcare",
    "https://www.googleapis.com/auth/cloud-platform",
)
"""Either one suffices on every method of the API (its discovery document)."""

_MAC_LENGTH = 16


class InvalidTokenError(Exception):
    """The token was never issued here, or it was changed on the way."""


class ExpiredTokenError(Exception):
    """The token was good once."""


@dataclass(frozen=True)
class AccessToken:
    """What an access token says."""

    identity: str
    scopes: frozenset[str]
    expires: float

    @property
    def allows_healthcare(self) -> bool:
        return not self.scopes.isdisjoint(HEALTHCARE_SCOPES)


class TokenMint:
    """Issues and reads access tokens."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._clock = clock

    def issue(self, identity: str, scopes: Iterable[str], lifetime: float, prefix: str) -> str:
        """Return a new token, different from all others, that starts with ``prefix``."""
        payload = json.dumps(
            [identity, sorted(scopes), self._clock() + lifetime, secrets.token_hex(4)],
            separators=(",", ":"),
        ).encode()
        return prefix + base64.urlsafe_b64encode(self._mac(payload) + payload).decode().rstrip("=")

    def read(self, token: str) -> AccessToken:
        """Return what a token says, or raise when it says nothing that counts any more."""
        body = token.rpartition(".")[2]
        try:
            blob = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        except (binascii.Error, ValueError) as error:
            raise InvalidTokenError from error
        mac, payload = blob[:_MAC_LENGTH], blob[_MAC_LENGTH:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise InvalidTokenError
        identity, scopes, expires, _ = json.loads(payload)
        if self._clock() >= expires:
            raise ExpiredTokenError
        return AccessToken(identity, frozenset(scopes), expires)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, hashlib.sha256)[:_MAC_LENGTH]
