"""The one place that makes a client of an account's DICOM store."""

from __future__ import annotations

from collections.abc import Callable

from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.dicomweb.client import DicomStore
from orthanc_gcp.transport.authorization import Authorization

__all__ = ["of_account"]


def of_account(
    settings: Settings,
    account: Account,
    authorization: Callable[[str], Authorization],
    *,
    upsert: bool = False,
) -> DicomStore:
    """A client of the store that an account's options name, over Orthanc's own proxy and trust.

    Parameters
    ----------
    authorization
        Account -> what its next request carries; asked for each one.
    upsert
        By version v1beta1 of the API, which can replace instances.

    Raises
    ------
    StoreError
        The file of ``HttpsCACertificates`` or the proxy's address cannot be used.
    """
    return DicomStore(
        settings.dicomweb_url(account, "v1beta1" if upsert else ""),
        lambda: authorization(account.name),
        ca_certificates=settings.ca_certificates,
        verify=settings.orthanc.https_verify_peers,
        proxy=settings.orthanc.http_proxy,
        connections=2 * account.max_connections,  # to send, and to read back beside that
    )
