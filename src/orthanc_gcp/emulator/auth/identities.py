"""Who may ask for tokens: service accounts with keys, users with refresh tokens, a pool.

They are made at the first start and stay in one file, so that credential files written once go
on working after a restart.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from orthanc_gcp.emulator.auth.identity_pools import IdentityPools
from orthanc_gcp.emulator.auth.json_web_tokens import (
    JsonWebToken,
    PrivateKey,
    public_jwk,
    sign,
)
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.faults.refusals import NamedRefusal

__all__ = [
    "GOOGLE_TOKEN_URI",
    "Identities",
    "ServiceAccount",
    "User",
    "as_json",
    "write_private",
]

GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address # nosec B105
USER_SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/userinfo.email",
    "openid",
)


@dataclass
class ServiceAccount:
    """A service account; its keys are PKCS #8 PEM texts by key id."""

    email: str
    client_id: str
    project: str
    keys: dict[str, str] = field(default_factory=dict)

    def key_file(self, token_uri: str) -> dict[str, str]:
        """Return the content of a key file, as ``gcloud iam service-accounts keys create``."""
        key_id, private_key = next(iter(self.keys.items()))
        certificates = "https://www.googleapis.com"
        return {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": key_id,
            "private_key": private_key,
            "client_email": self.email,
            "client_id": self.client_id,
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "auth_provider_x509_cert_url": f"{certificates}/oauth2/v1/certs",
            "client_x509_cert_url": f"{certificates}/robot/v1/metadata/x509/{self.email}",
            "universe_domain": "googleapis.com",
        }


@dataclass
class User:
    """A person who once agreed; the refresh token is the proof."""

    email: str
    client_id: str
    client_secret: str
    refresh_token: str
    scopes: list[str]
    revoked: bool = False

    def credential_file(self) -> dict[str, str]:
        """Return the content of a file of ``gcloud auth application-default login``."""
        return {
            "account": self.email,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
            "type": "authorized_user",
            "universe_domain": "googleapis.com",
        }


class Identities:
    """All identities, and the secret that signs their access tokens.

    Parameters
    ----------
    path : Path
        Their file; made with two service accounts, a user and the pools of federated identities
        when missing.
    project : str
        The project of what is made then.
    fault_settings : FaultSettings
        Which keys and refresh tokens do not work for the time being.
    """

    token_secret: bytes
    service_accounts: list[ServiceAccount]
    users: list[User]
    pools: IdentityPools
    workforce: list[User]
    _pool_key: str
    _id_token_key: str

    def __init__(
        self, path: Path, project: str, fault_settings: FaultSettings | None = None
    ) -> None:
        self._path = path
        self._fault_settings = fault_settings or FaultSettings()
        if path.exists():
            self._load(json.loads(path.read_text("utf-8")))
        else:
            self._make(project)
            self.save()
        self._at_start = self._as_json()

    def reset(self) -> None:
        """Bring back the keys and refresh tokens of the start, and no others."""
        self._load(json.loads(self._at_start))
        self.save()

    @property
    def refusal(self) -> NamedRefusal | None:
        """The refusal by name that is played for the time being."""
        return self._fault_settings.current.refusal

    @property
    def impersonated(self) -> ServiceAccount:
        """The service account that has no key: others act in its name."""
        return self.service_accounts[1]

    def service_account(self, email: object) -> ServiceAccount | None:
        """Return the service account of an address, if there is one."""
        return next((a for a in self.service_accounts if a.email == email), None)

    def keys(self, account: ServiceAccount) -> dict[str, str]:
        """Return the keys of a service account that work."""
        deleted = self._fault_settings.current.deleted_keys
        return {name: key for name, key in account.keys.items() if name not in deleted}

    def is_user(self, email: str) -> bool:
        """Return whether an address is that of a person with a refresh token."""
        return any(user.email == email for user in self.users)

    def is_revoked(self, user: User) -> bool:
        """Return whether somebody's refresh token does not work any more, or for now."""
        return (
            user.revoked
            or user.refresh_token in self._fault_settings.current.revoked_refresh_tokens
        )

    def add_key(self, account: ServiceAccount) -> str:
        """Give a service account one more key; return its id."""
        key_id = secrets.token_hex(20)
        account.keys[key_id] = _new_private_key()
        self.save()
        return key_id

    def delete_key(self, key_id: str) -> None:
        """Delete a key: assertions signed with it stop working, access tokens live on."""
        for account in self.service_accounts:
            account.keys.pop(key_id, None)
        self.save()

    def revoke(self, refresh_token: str) -> None:
        """Revoke a refresh token."""
        for user in (*self.users, *self.workforce):
            if user.refresh_token == refresh_token:
                user.revoked = True
        self.save()

    def sign_id_token(self, claims: dict[str, Any]) -> str:
        """Return an ID token (RS256) signed with the key that stands for Google's own."""
        if not self._id_token_key:
            self._id_token_key = _new_private_key()
            self.save()
        return sign(claims, self._id_token_key)

    def subject_token(self, now: float, **claims: Any) -> str:
        """Return a token of the workload, as its own identity provider would sign it."""
        given = self.pools.subject_claims(now) | claims
        return sign(given, self._pool_key, kid=IdentityPools.KEY_ID)

    def signed_subject_token(self, token: JsonWebToken) -> bool:
        """Return whether :meth:`subject_token` signed a token."""
        is_named = token.header.get("kid") == IdentityPools.KEY_ID
        return is_named and token.is_signed_by(self._pool_key)

    def jwks(self) -> dict[str, Any]:
        """Return the set of keys that subject tokens are verified by (RFC 7517 section 5)."""
        return {"keys": [public_jwk(self._pool_key, IdentityPools.KEY_ID)]}

    def save(self) -> None:
        """Write the file anew, whole or not at all."""
        write_private(self._path, self._as_json())

    def _as_json(self) -> bytes:
        state = {
            "tokenSecret": self.token_secret.hex(),
            "serviceAccounts": [asdict(account) for account in self.service_accounts],
            "users": [asdict(user) for user in self.users],
            "idTokenKey": self._id_token_key,
            "projectNumber": self.pools.project_number,
            "poolKey": self._pool_key,
            "workforce": [asdict(user) for user in self.workforce],
        }
        return as_json(state)

    def _load(self, state: dict[str, Any]) -> None:
        self.token_secret = bytes.fromhex(state["tokenSecret"])
        self.service_accounts = [ServiceAccount(**account) for account in state["serviceAccounts"]]
        self.users = [User(**user) for user in state["users"]]
        self._id_token_key = state["idTokenKey"]
        self.pools = IdentityPools(state["projectNumber"])
        self._pool_key = state["poolKey"]
        self.workforce = [User(**user) for user in state["workforce"]]

    def _make(self, project: str) -> None:
        self.token_secret = secrets.token_bytes(32)
        impersonated = f"healthcare@{project}.iam.gserviceaccount.com"
        self.service_accounts = [
            _new_service_account(project),
            ServiceAccount(impersonated, _new_number(), project),
        ]
        self.users = [_new_user(project)]
        self._id_token_key = ""  # no secret  # nosec B105
        self.pools = IdentityPools(_new_number()[:12])
        self._pool_key = _pem(ec.generate_private_key(ec.SECP256R1()))
        self.workforce = [_new_user(project)]


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    temporary.replace(path)


def as_json(value: Any) -> bytes:
    """Return a value as a file of JSON."""
    return (json.dumps(value, indent=2) + "\n").encode()


def _new_private_key() -> str:
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _pem(key: PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _new_number() -> str:
    return "1" + "".join(secrets.choice("0123456789") for _ in range(20))


def _new_service_account(project: str) -> ServiceAccount:
    return ServiceAccount(
        email=f"orthanc@{project}.iam.gserviceaccount.com",
        client_id=_new_number(),
        project=project,
        keys={secrets.token_hex(20): _new_private_key()},
    )


def _new_user(project: str) -> User:
    client = f"{_new_number()[:12]}-{secrets.token_hex(16)}"
    return User(
        email=f"user@{project}.example",
        client_id=f"{client}.apps.googleusercontent.com",
        client_secret="GOCSPX-" + secrets.token_urlsafe(21),
        refresh_token="1//0" + secrets.token_urlsafe(48),
        scopes=list(USER_SCOPES),
    )
