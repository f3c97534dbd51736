"""Account -> google-auth credentials, and what is wrong with them, in words.

Loading reads files, never the network. A key is parsed once however many accounts share it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.errors import CredentialError

if TYPE_CHECKING:  # each kind of credential imports what it needs, when it is first used
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from google.auth.credentials import Credentials

__all__ = ["GOOGLE_TOKEN_URI", "load"]

GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
LARGEST_FILE = 1024 * 1024


def load(account: Account, settings: Settings) -> Credentials:
    """The credentials of an account, ready for ``refresh()``.

    The original's precedence: ``ServiceAccountFile``, then ``AuthorizedUserFile``, then the
    user's three strings.

    Raises
    ------
    CredentialError
        The file cannot be read, or is not what the option expects.
    """
    if account.service_account_file is not None:
        path = settings.credential_file(account.service_account_file)
        return _service_account(_document(path, "ServiceAccountFile"), path, account)
    if account.authorized_user_file is not None:
        path = settings.credential_file(account.authorized_user_file)
        return _user_from_file(_document(path, "AuthorizedUserFile"), path, account)
    return _user(
        account,
        account.authorized_user_client_id,
        account.authorized_user_client_secret,
        account.authorized_user_refresh_token,
    )


def _service_account(document: dict[str, Any], path: Path, account: Account) -> Credentials:
    """A service account's key file, as the Google Cloud console hands it out."""
    where = f"ServiceAccountFile {path}"
    kind = document.get("type", "service_account")
    if kind != "service_account":
        raise CredentialError(
            f"{where}: expected the key of a service account, found the type {_word(kind)}"
            + (", which belongs in AuthorizedUserFile" if kind == "authorized_user" else ""),
            reason="wrong_type",
        )
    from google.auth.crypt import RSASigner
    from google.oauth2 import service_account

    email = _text(document, "client_email", where)
    key_id = document.get("private_key_id")
    return service_account.Credentials(
        RSASigner(_key(_text(document, "private_key", where), where), key_id and str(key_id)),
        email,
        account.token_uri or str(document.get("token_uri") or GOOGLE_TOKEN_URI),
        scopes=account.scopes,
        project_id=document.get("project_id"),
    )


def _key(pem: str, where: str) -> RSAPrivateKey:
    try:
        return _parsed_key(pem)
    except (TypeError, ValueError):
        raise CredentialError(
            f"{where}: private_key is not a usable RSA key in PEM form, download a new key file",
            reason="unusable_key",
        ) from None


@lru_cache(maxsize=1024)
def _parsed_key(pem: str) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # Proving the key's primes takes 25 to 45 ms, a thousand accounts would wait for it. The file is
    # the administrator's own, and Google refuses the signature of a key that is not sound.
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError
    return key


def _user_from_file(document: dict[str, Any], path: Path, account: Account) -> Credentials:
    """A user's refresh token, as ``gcloud auth application-default login`` writes it."""
    where = f"AuthorizedUserFile {path}"
    if "token" in document and "refresh_token" not in document:
        raise CredentialError(
            f"{where}: it only holds an access token, which dies within the hour: gcloud no longer "
            "writes the refresh token with 'gcloud auth print-access-token --format json'. Run "
            "'gcloud auth application-default login' and name the file that it writes "
            "(application_default_credentials.json)",
            reason="only_access_token",
        )
    kind = document.get("type", "authorized_user")
    if kind != "authorized_user":
        raise CredentialError(
            f"{where}: expected the credentials of a user, found the type {_word(kind)}"
            + (", which belongs in ServiceAccountFile" if kind == "service_account" else ""),
            reason="wrong_type",
        )
    fields = ("client_id", "client_secret", "refresh_token")
    return _user(account, *(_text(document, field, where) for field in fields))


def _user(account: Account, *secrets: str | None) -> Credentials:
    """Refresh credentials; no scope is sent, the refresh token carries those it was granted."""
    from google.oauth2 import credentials as user

    client_id, client_secret, refresh_token = secrets
    return user.Credentials(
        None,
        refresh_token=refresh_token,
        token_uri=account.token_uri or GOOGLE_TOKEN_URI,
        client_id=client_id,
        client_secret=client_secret,
    )


def _document(path: Path, option: str) -> dict[str, Any]:
    where = f"{option} {path}"
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE)
        document = json.loads(content)
    except FileNotFoundError:
        raise CredentialError(f"{where}: there is no such file", reason="missing_file") from None
    except OSError as error:
        words = f"the file cannot be read: {error.strerror}"
        raise CredentialError(f"{where}: {words}", reason="unreadable_file") from None
    except (ValueError, RecursionError):
        raise CredentialError(f"{where}: the file is not JSON", reason="not_json") from None
    if not isinstance(document, dict):
        raise CredentialError(f"{where}: expected a JSON object", reason="not_json")
    return document


def _text(document: dict[str, Any], field: str, where: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not value:
        found = "is missing" if value is None or value == "" else "is not a string"
        raise CredentialError(f"{where}: {field} {found}", reason="missing_field")
    return value


def _word(value: Any) -> str:
    """A value from a credential file that may be shown: only if it looks like a type name."""
    text = str(value)
    return text if text.isascii() and text.isidentifier() and len(text) <= 40 else "of another kind"
