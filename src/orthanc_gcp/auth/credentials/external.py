"""Workload and workforce identity federation: an identity provider vouches, there is no key.

The files are those of AIP-4117; their subject tokens are exchanged by RFC 8693.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.error_text import classified
from orthanc_gcp.reasons import CredentialReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.auth.credentials import Credentials

    from orthanc_gcp.auth.credentials.documents import Document
    from orthanc_gcp.configuration import Account

__all__ = ["external_account", "external_user"]


def external_account(document: Document, account: Account, scopes: tuple[str, ...]) -> Identity:
    """Federation with a file, URL, executable, AWS or certificate source.

    Raises
    ------
    CredentialError
        google-auth finds the file incomplete.
    """
    source = document.fields.get("credential_source")
    source = source if isinstance(source, dict) else {}
    if "environment_id" in source or document.fields.get("subject_token_type", "").endswith(
        "aws4_request"
    ):
        from google.auth import aws

        kind, make = "external account (AWS)", aws.Credentials.from_info
    elif "executable" in source:
        from google.auth import pluggable

        kind, make = "external account (executable)", pluggable.Credentials.from_info
    else:
        from google.auth import identity_pool

        name = next((name for name in ("file", "url", "certificate") if name in source), "unknown")
        kind, make = f"external account ({name})", identity_pool.Credentials.from_info
    credentials = _made(make, document, scopes=scopes)
    quota = account.quota_project or document.fields.get("quota_project_id")
    return Identity(kind, credentials, scopes, document, quota)


def external_user(document: Document, account: Account, scopes: tuple[str, ...]) -> Identity:
    """A workforce user who logged in with gcloud.

    Raises
    ------
    CredentialError
        google-auth finds the file incomplete.
    """
    from google.auth.external_account_authorized_user import Credentials

    credentials = _made(Credentials.from_info, document)
    quota = account.quota_project or document.fields.get("quota_project_id")
    return Identity("external user", credentials, scopes, document, quota)


def _made(make: Callable[..., Credentials], document: Document, **options: Any) -> Credentials:
    from google.auth.exceptions import GoogleAuthError

    try:
        return make(document.fields, **options)
    except (GoogleAuthError, TypeError, ValueError, KeyError, AttributeError) as error:
        text = error.args[0] if error.args and isinstance(error.args[0], str) else ""
        raise document.fault(
            f"the file is not usable: {classified(text) or type(error).__name__}",
            CredentialReason.INCOMPLETE_FILE,
        ) from None
