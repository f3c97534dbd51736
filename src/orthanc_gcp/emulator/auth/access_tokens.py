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

from orthanc_gcp.emulator.faults.fault_settings import FaultSettings

__all__ = [
    "CLOUD_PLATFORM",
    "HEALTHCARE_SCOPES",
    "AccessToken",
    "ExpiredTokenError",
    "InvalidTokenError",
    "TokenMint",
]

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
HEALTHCARE_SCOPES = ("https://www.googleapis.com/auth/cloud-healthcare", CLOUD_PLATFORM)
"""Either one suffices on every method of the API (its discovery document)."""

_MAC_LENGTH = 16


class InvalidTokenError(Exception):
    """The token was never issued here, or it was changed on the way."""


class ExpiredTokenError(Exception):
    """The token was good once."""


@dataclass(frozen=True)
class AccessToken:
    """What an access token says.

    ``identity`` is an e-mail address, or a ``principal://`` of a pool of identities.
    """

    identity: str
    scopes: frozenset[str]
    expires: float

    def has_scope(self, *scopes: str) -> bool:
        """Tell whether the token has one of these scopes."""
        return not self.scopes.isdisjoint(scopes)


class TokenMint:
    """Issues and reads access tokens.

    Parameters
    ----------
    lifetime : int
        How many seconds a token lives.
    fault_settings : FaultSettings
        Which scopes tokens get, if not those that were asked for.
    """

    def __init__(
        self,
        secret: bytes,
        clock: Callable[[], float],
        lifetime: int,
        fault_settings: FaultSettings,
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._fault_settings = fault_settings
        self.lifetime = lifetime

    @property
    def expires_in(self) -> int:
        """What is announced: Google says one second less than a token lives."""
        return max(1, self.lifetime - 1)

    def granted(self, scopes: Iterable[str]) -> tuple[str, ...]:
        """Return the scopes that a token gets for which some are asked."""
        return self._fault_settings.current.scopes(scopes)

    def issue(
        self, identity: str, scopes: Iterable[str], prefix: str, lifetime: float | None = None
    ) -> str:
        """Return a new token, different from all others, that starts with ``prefix``."""
        end = self._clock() + (self.lifetime if lifetime is None else lifetime)
        payload = json.dumps(
            [identity, sorted(self.granted(scopes)), end, secrets.token_hex(4)],
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
