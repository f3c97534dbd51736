"""The DICOM store of an account, as its options say."""

from __future__ import annotations

from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.store import DicomStore
from orthanc_gcp.worker.tokens import Tokens

__all__ = ["store_of"]


def store_of(settings: Settings, account: Account, tokens: Tokens, url: str) -> DicomStore:
    """A client of the store at an address, which sends the account's newest token."""
    headers = {"x-goog-user-project": account.quota_project} if account.quota_project else {}
    return DicomStore(
        url,
        lambda: tokens.token(account.name),
        ca_certificates=settings.ca_certificates,
        verify=settings.orthanc.https_verify_peers,
        proxy=settings.orthanc.http_proxy,
        connections=account.max_connections + 2,
        headers=headers,
    )
