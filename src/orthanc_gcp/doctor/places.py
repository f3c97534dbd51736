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

__all__ = ["GOOGLE", "Place", "is_google", "place_of", "places"]

GOOGLE = ("healthcare.googleapis.com", "oauth2.googleapis.com")
"""Hosts that every name server of the Internet knows."""
_STS_URI = "https://sts.googleapis.com/v1/token"
_USUAL = {
    "token_uri": GOOGLE_TOKEN_URI,
    "token_url": _STS_URI,
    "service_account_impersonation_url": IAM_URI,
}


@dataclass(frozen=True)
class Place:
    """An option that holds an address.

    Attributes
    ----------
    option : str
        Its name; with the file, where it is a field of a credential.
    url : str
        What it says.
    usual : str
        What it says for Google; empty where that is nobody's affair.
    """

    option: str
    url: str
    usual: str

    @property
    def instead(self) -> str:
        """What else to write, as a clause; empty where that is unknown or already so."""
        return "" if not self.usual or self.url == self.usual else f" (Google's is {self.usual})"


def places(account: Account, settings: Settings, document: Document | None) -> Iterator[Place]:
    """The addresses of an account that are written somewhere."""
    yield Place("BaseUrl", settings.section.base_url, DEFAULT_BASE_URL)
    if account.token_uri:
        yield Place("TokenUri", account.token_uri, GOOGLE_TOKEN_URI)
    if account.iam_credentials_uri:
        yield Place("IamCredentialsUri", account.iam_credentials_uri, IAM_URI)
    if document is not None:
        for name, url in _urls(document.fields):
            yield Place(f"{name} in {document.where}", url, _USUAL.get(name, ""))


def _urls(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _urls(value, f"{prefix}{name}.")
        elif isinstance(value, str) and value.startswith(("http://", "https://")):
            yield prefix + name, value


def place_of(url: str, known: Iterable[Place]) -> Place | None:
    """Where an address comes from; None if it is built in."""
    same = [place for place in known if _netloc(place.url) == _netloc(url)]
    exact = [place for place in same if url.startswith(place.url.rstrip("/").partition("?")[0])]
    return next(iter([*exact, *same]), None)


def is_google(url: str) -> bool:
    """Whether an address is one of Google's APIs."""
    return f".{urlsplit(url).hostname or ''}".endswith(".googleapis.com")


def _netloc(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()
