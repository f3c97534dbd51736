"""Keys and credential files for tests."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

STORE = {
    "Project": "osimis-test",
    "Location": "europe-west2",
    "Dataset": "test",
    "DicomStore": "dicom",
}
USER = {"client_id": "id-0001", "client_secret": "secret-0002", "refresh_token": "refresh-0003"}


@cache
def private_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def service_account(token_uri: str, **changes: Any) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "osimis-test",
        "private_key_id": "0123",
        "private_key": private_key(),
        "client_email": "orthanc@osimis-test.iam.gserviceaccount.com",
        "token_uri": token_uri,
        **changes,
    }


def write(path: Path, document: Any) -> str:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def user_account(token_uri: str, **changes: Any) -> dict[str, Any]:
    """An account with the user's three strings."""
    return {
        **STORE,
        "AuthorizedUserClientId": USER["client_id"],
        "AuthorizedUserClientSecret": USER["client_secret"],
        "AuthorizedUserRefreshToken": USER["refresh_token"],
        "TokenUri": token_uri,
        **changes,
    }
