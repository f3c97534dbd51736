"""Addresses where data go: what can be known to be wrong from their text alone (RFC 3986).

A host name has at most 253 characters: 255 octets with the length of each label (RFC 1035 §2.3.4).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from orthanc_gcp.configuration.problems import meant
from orthanc_gcp.redaction import address

__all__ = [
    "base_url_expected",
    "database_expected",
    "endpoint",
    "is_loopback",
    "normalized",
    "proxy_expected",
    "url_expected",
    "webhook_expected",
]

_URL = "an address that begins with https:// or http://"
_BASE = "https://healthcare.googleapis.com/v1/ or https://healthcare.googleapis.com/v1beta1/"
_DATABASE = "postgresql://user:password@host/database"
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_VERSION = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]*)?")
_OF_A_STORE = ("projects", "locations", "datasets", "dicomstores", "dicomweb")
_GOOGLE = "googleapis.com"
_VERSIONS = ("v1", "v1beta1")


def url_expected(value: Any) -> str:
    """What was expected in place of an address; empty if it is right."""
    parts = _parts(value)
    if isinstance(parts, str):
        return parts
    if parts.username is not None or "@" in value:
        return "an address without user and password"
    if "?" in value or "#" in value:
        return "an address without a query and a fragment"
    return _unlike_google(parts)


def webhook_expected(value: Any) -> str:
    """As :func:`url_expected`, but such an address may have a query."""
    parts = _parts(value)
    if isinstance(parts, str):
        return parts
    if parts.username is not None:
        return "an address without user and password"
    return "an address without a fragment" if "#" in value else ""


def base_url_expected(value: Any) -> str:
    """What was expected in place of the root of the Healthcare API; empty if it is right.

    Google's own has nothing but the version in its path (Cloud Healthcare API, REST reference);
    a gateway or a private endpoint may have a path before it.
    """
    wrong = url_expected(value)
    if wrong:
        return wrong
    parts = urlsplit(value)
    segments = [segment for segment in parts.path.split("/") if segment]
    root = f"{parts.scheme}://{parts.netloc}/"
    store = [segment for segment in segments if segment.lower() in _OF_A_STORE]
    if store:
        before = segments[: segments.index(store[0])]
        known = before and _VERSION.fullmatch(before[-1])
        example = f"{root}{'/'.join(before) if known else 'v1'}/"
        return f"only what stands before projects/, such as {example}: the account names the store"
    if not _PATH.fullmatch(parts.path) or {".", ".."} & set(segments):
        return "a path of letters, digits, '-', '_', '.' and '~'"
    if not segments or not _VERSION.fullmatch(segments[-1]):
        return f"the version of the API at its end, such as {root}v1/ or {root}v1beta1/"
    return _unlike_healthcare(parts, segments) if _is_google(parts) else ""


def proxy_expected(value: Any) -> str:
    """What was expected in place of a proxy; empty if it is right, or none."""
    expected = "a proxy as host:port or http://user:password@host:port"
    if not isinstance(value, str) or not value.isprintable():
        return expected
    if not value:
        return ""
    try:
        parted = address(value if "://" in value else f"http://{value}")
    except ValueError as error:
        return str(error)
    parts = _parts(parted.bare)
    wrong = isinstance(parts, str) or parts.path not in ("", "/") or "?" in value or "#" in value
    return expected if wrong else ""


def database_expected(value: Any) -> str:
    """What was expected in place of a database; empty if it is right."""
    if not isinstance(value, str) or not value.isprintable():
        return _DATABASE
    if value.startswith("sqlite:"):
        # A relative file would be another one for each working directory.
        right = re.fullmatch("sqlite:////[^?]+", value)
        return "" if right else "sqlite:////absolute/path/of/a/file"
    if not value.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        return _DATABASE
    try:
        parted = address(value)
    except ValueError as error:
        return str(error).replace("https://user:password@host:port/", _DATABASE)
    return "" if urlsplit(parted.bare).path.strip("/") else _DATABASE


def normalized(url: str) -> str:
    """The same address with scheme and host in lower case, as the DICOMweb plugin wants it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.lower()).geturl()


def endpoint(base: str) -> str:
    """Who answers at the root of the Healthcare API; empty for Google.

    By each address of Google's, regional ones included, a path names the same store. Whether an
    address of somebody else leads to those cannot be known.

    Parameters
    ----------
    base
        With the version at its end, which names no other stores.
    """
    parts = urlsplit(base)
    return "" if _is_google(parts) else normalized(base).rstrip("/").rpartition("/")[0]


def is_loopback(url: str) -> bool:
    """Whether an address leads nowhere but to this machine."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _parts(value: Any) -> SplitResult | str:
    """An address taken apart, or what was expected in place of it."""
    if not isinstance(value, str):
        return _URL
    if not value.isprintable() or " " in value or "\\" in value:
        return "an address without blanks and backslashes"
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return _URL
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return _URL
    if not host.isascii():
        return "a host name in ASCII, an international one as xn--…"
    return parts if ":" in host or _HOST.fullmatch(host) else _URL


def _is_google(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    return host == _GOOGLE or host.endswith(f".{_GOOGLE}")


def _unlike_google(parts: SplitResult) -> str:
    """A host that is nearly one of Google's is somebody else's."""
    host = parts.hostname or ""
    near = meant(".".join(host.split(".")[-2:]), [_GOOGLE])
    return f"a host that ends in {_GOOGLE}" if near and not _is_google(parts) else ""


def _unlike_healthcare(parts: SplitResult, segments: list[str]) -> str:
    """What Google's own address of the API must be."""
    right = (
        parts.scheme == "https"
        and "healthcare" in (parts.hostname or "").removesuffix(_GOOGLE)
        and len(segments) == 1
        and segments[0] in _VERSIONS
    )
    return "" if right else _BASE
