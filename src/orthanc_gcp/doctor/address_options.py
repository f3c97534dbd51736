"""Which option an address comes from, so that a remedy can name what to correct."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from orthanc_gcp.auth.credentials.documents import Document
from orthanc_gcp.auth.credentials.impersonation import IAM_URI
from orthanc_gcp.auth.credentials.keys import GOOGLE_TOKEN_URI
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.configuration.options import DEFAULT_BASE_URL

__all__ = ["GOOGLE", "AddressOption", "address_options", "is_google", "option_of"]

GOOGLE = ("healthcare.googleapis.com", "oauth2.googleapis.com")
"""Hosts that every name server of the Internet knows."""
_STS_URI = "https://sts.googleapis.com/v1/token"
_OF_GOOGLE = {
    "token_uri": GOOGLE_TOKEN_URI,
    "token_url": _STS_URI,
    "service_account_impersonation_url": IAM_URI,
}


@dataclass(frozen=True)
class AddressOption:
    """An option that holds an address.

    Attributes
    ----------
    name : str
        How it is written; with the file, where it is a field of a credential.
    url : str
        What it says.
    google_url : str
        Google's own address in its place; empty where there is none.
    """

    name: str
    url: str
    google_url: str

    @property
    def hint(self) -> str:
        """Google's own address, as a clause; empty where there is none or it stands there."""
        if not self.google_url or self.url == self.google_url:
            return ""
        return f" (Google's is {self.google_url})"


def address_options(
    account: Account, settings: Settings, document: Document | None
) -> Iterator[AddressOption]:
    """The addresses of an account that stand in an option or in the credential."""
    yield AddressOption("BaseUrl", settings.section.base_url, DEFAULT_BASE_URL)
    if account.token_uri:
        yield AddressOption("TokenUri", account.token_uri, GOOGLE_TOKEN_URI)
    if account.iam_credentials_uri:
        yield AddressOption("IamCredentialsUri", account.iam_credentials_uri, IAM_URI)
    if document is not None:
        for name, url in _urls(document.fields):
            yield AddressOption(f"{name} in {document.where}", url, _OF_GOOGLE.get(name, ""))


def _urls(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _urls(value, f"{prefix}{name}.")
        elif isinstance(value, str) and value.startswith(("http://", "https://")):
            yield prefix + name, value


def option_of(url: str, known: Iterable[AddressOption]) -> AddressOption | None:
    """The option that an address comes from; None if it is built in."""
    same = [option for option in known if _netloc(option.url) == _netloc(url)]
    exact = [option for option in same if url.startswith(option.url.rstrip("/").partition("?")[0])]
    return next(iter([*exact, *same]), None)


def is_google(url: str) -> bool:
    """Whether an address is one of Google's APIs."""
    return f".{urlsplit(url).hostname or ''}".endswith(".googleapis.com")


def _netloc(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()
