"""Long-lived secrets: the keys of service accounts and the refresh tokens of users.

A key signs an assertion (RFC 7523), a refresh token is exchanged as it is (RFC 6749 §6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orthanc_gcp.auth.credentials import private_keys
from orthanc_gcp.auth.credentials.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from orthanc_gcp.auth.credentials.documents import Document
    from orthanc_gcp.configuration import Account

__all__ = ["GOOGLE_TOKEN_URI", "service_account", "user", "user_strings"]

GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address # nosec B105


def service_account(document: Document, account: Account, scopes: tuple[str, ...]) -> Identity:
    """A service account's key, as the Google Cloud console hands it out.

    Raises
    ------
    CredentialError
        A field is missing or the key is not usable.
    """
    from google.auth.crypt import RSASigner
    from google.oauth2 import service_account

    email = document.text("client_email")
    key_id = document.fields.get("private_key_id")
    credentials = service_account.Credentials(
        RSASigner(_key(document), key_id and str(key_id)),
        email,
        account.token_uri or str(document.fields.get("token_uri") or GOOGLE_TOKEN_URI),
        scopes=scopes,
        project_id=document.fields.get("project_id"),
        # Signed here and sent as it is: no request to the token endpoint at all.
        always_use_jwt_access=account.self_signed_jwt,
    )
    return Identity("service account", credentials, scopes, document, account.quota_project)


def _key(document: Document) -> RSAPrivateKey:
    text = document.text("private_key")
    try:
        return private_keys.parse(text)
    except (TypeError, ValueError):
        pass
    reason, words = private_keys.fault(text)
    detail = f" ({words})" if words else ""
    raise document.fault(
        f"private_key is not a usable RSA key in PEM form{detail}, download a new key file",
        reason,
    )


def user(document: Document, account: Account, _scopes: tuple[str, ...] = ()) -> Identity:
    """A user's refresh token, as ``gcloud auth application-default login`` writes it.

    Raises
    ------
    CredentialError
        A field is missing.
    """
    fields = ("client_id", "client_secret", "refresh_token")
    secrets = [document.text(field) for field in fields]
    # The original's option stays as it was: only the new ones bill the file's own quota project.
    own = document.fields.get("quota_project_id") if account.authorized_user_file is None else None
    return _user(account, secrets, document, own if isinstance(own, str) else None)


def user_strings(account: Account) -> Identity:
    """A user's refresh token, from the three strings of the original."""
    secrets = [
        account.authorized_user_client_id,
        account.authorized_user_client_secret,
        account.authorized_user_refresh_token,
    ]
    return _user(account, secrets, None, None)


def _user(
    account: Account, secrets: Sequence[str | None], document: Document | None, quota: str | None
) -> Identity:
    """Refresh credentials; no scope is sent, the refresh token carries those it was granted."""
    from google.oauth2 import credentials

    client_id, client_secret, refresh_token = secrets
    made = credentials.Credentials(
        None,
        refresh_token=refresh_token,
        token_uri=account.token_uri or GOOGLE_TOKEN_URI,
        client_id=client_id,
        client_secret=client_secret,
        account=document.fields.get("account", "") if document else "",
    )
    return Identity("user", made, (), document, account.quota_project or quota)
