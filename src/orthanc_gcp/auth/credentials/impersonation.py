"""Service account impersonation, on top of any other identity.

Method ``projects.serviceAccounts.generateAccessToken`` of the IAM Service Account Credentials API.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from orthanc_gcp.auth.credentials.documents import Document
from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.reasons import CredentialReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from orthanc_gcp.configuration import Account

__all__ = ["IAM_URI", "SOURCE_SCOPES", "impersonated", "of_file"]

IAM_URI = "https://iamcredentials.googleapis.com"
SOURCE_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def impersonated(source: Identity, account: Account) -> Identity:
    """The account's ``ImpersonateServiceAccount``, by leave of its own identity."""
    target = account.impersonate_service_account or ""
    base = (account.iam_credentials_uri or IAM_URI).rstrip("/")
    endpoint = f"{base}/v1/projects/-/serviceAccounts/{target}:generateAccessToken"
    return _impersonated(source, target, endpoint, account.delegates, account.scopes)


def of_file(
    document: Document,
    account: Account,
    scopes: tuple[str, ...],
    load: Callable[[Document, Account, tuple[str, ...]], Identity],
) -> Identity:
    """A file of type ``impersonated_service_account``, as gcloud writes it.

    Parameters
    ----------
    load
        Makes the identity of the file's ``source_credentials``.

    Raises
    ------
    CredentialError
        The file is incomplete.
    """
    incomplete = CredentialReason.INCOMPLETE_IMPERSONATION
    endpoint = document.text("service_account_impersonation_url", incomplete)
    target = re.search(r"/serviceAccounts/([^/:]+):generateAccessToken$", endpoint)
    source = document.fields.get("source_credentials")
    if target is None or not isinstance(source, dict):
        raise document.fault(
            "service_account_impersonation_url or source_credentials is not what gcloud writes",
            incomplete,
        )
    where = f"{document.where} (source_credentials)"
    of_source = load(replace(document, where=where, fields=source), account, SOURCE_SCOPES)
    delegates = document.fields.get("delegates") or ()
    return _impersonated(of_source, target[1], endpoint, tuple(delegates), scopes)


def _impersonated(
    source: Identity,
    target: str,
    endpoint: str,
    delegates: tuple[str, ...],
    scopes: tuple[str, ...],
) -> Identity:
    from google.auth import impersonated_credentials

    credentials = impersonated_credentials.Credentials(
        source.credentials,
        target,
        list(scopes),
        delegates=[_delegate(name) for name in delegates] or None,
        iam_endpoint_override=endpoint,
    )
    kind = f"service account impersonated by a {source.kind}"
    return Identity(kind, credentials, scopes, source.document, source.quota_project)


def _delegate(name: str) -> str:
    """The IAM Credentials API wants resource names."""
    return name if name.startswith("projects/") else f"projects/-/serviceAccounts/{name}"
