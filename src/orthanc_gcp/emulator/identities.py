"""Who may ask for tokens: service accounts with their keys, users with their refresh tokens.

They are made at the first start and kept in one file, so that credential files written once go
on working after a restart.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

__all__ = ["GOOGLE_TOKEN_URI", "Identities", "ServiceAccount", "User", "write_private"]

GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
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
        The file that keeps them; made with one service account and one user when missing.
    project : str
        The project of the service account that is made then.
    """

    def __init__(self, path: Path, project: str) -> None:
        self._path = path
        if path.exists():
            self._load(json.loads(path.read_text()))
        else:
            self.token_secret = secrets.token_bytes(32)
            self.service_accounts = [_new_service_account(project)]
            self.users = [_new_user(project)]
            self._id_token_key = ""
            self.save()

    def service_account(self, email: object) -> ServiceAccount | None:
        return next((a for a in self.service_accounts if a.email == email), None)

    def user(self, refresh_token: str) -> User | None:
        return next((u for u in self.users if u.refresh_token == refresh_token), None)

    def has_client(self, client_id: str) -> bool:
        return any(user.client_id == client_id for user in self.users)

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
        for user in self.users:
            if user.refresh_token == refresh_token:
                user.revoked = True
        self.save()

    def sign_id_token(self, claims: dict[str, Any]) -> str:
        """Return an ID token (RS256) signed with the key that stands for Google's own."""
        if not self._id_token_key:
            self._id_token_key = _new_private_key()
            self.save()
        key = serialization.load_pem_private_key(self._id_token_key.encode(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("ID tokens are signed with an RSA key")
        signed = b".".join(_base64url_json(part) for part in ({"alg": "RS256"}, claims))
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()

    def write_credentials(self, folder: Path, token_uri: str) -> None:
        """Write credential files of the first service account and the first user."""
        folder.mkdir(parents=True, exist_ok=True)
        account = self.service_accounts[0].key_file(token_uri)
        write_private(folder / "service-account.json", _as_json(account))
        user = self.users[0].credential_file()
        write_private(folder / "authorized-user.json", _as_json(user))

    def save(self) -> None:
        state = {
            "tokenSecret": self.token_secret.hex(),
            "serviceAccounts": [asdict(account) for account in self.service_accounts],
            "users": [asdict(user) for user in self.users],
            "idTokenKey": self._id_token_key,
        }
        write_private(self._path, _as_json(state))

    def _load(self, state: dict[str, Any]) -> None:
        self.token_secret = bytes.fromhex(state["tokenSecret"])
        self.service_accounts = [ServiceAccount(**account) for account in state["serviceAccounts"]]
        self.users = [User(**user) for user in state["users"]]
        self._id_token_key = state["idTokenKey"]


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    temporary.replace(path)


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _base64url_json(value: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def _new_private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _new_service_account(project: str) -> ServiceAccount:
    return ServiceAccount(
        email=f"orthanc@{project}.iam.gserviceaccount.com",
        client_id="1" + "".join(secrets.choice("0123456789") for _ in range(20)),
        project=project,
        keys={secrets.token_hex(20): _new_private_key()},
    )


def _new_user(project: str) -> User:
    number = "".join(secrets.choice("0123456789") for _ in range(12))
    return User(
        email=f"user@{project}.example",
        client_id=f"{number}-{secrets.token_hex(16)}.apps.googleusercontent.com",
        client_secret="GOCSPX-" + secrets.token_urlsafe(21),
        refresh_token="1//0" + secrets.token_urlsafe(48),
        scopes=list(USER_SCOPES),
    )
