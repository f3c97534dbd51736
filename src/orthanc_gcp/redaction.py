"""Texts from elsewhere, made fit for a log: no secret, no line break, no novel.

:func:`masked` is what every error and every line of a log passes; it knows secrets by their shape.
Where the secrets of a request are known, :func:`readable` masks these, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

__all__ = [
    "Address",
    "address",
    "bare",
    "host_of",
    "masked",
    "masked_fields",
    "masked_form",
    "printable",
    "readable",
    "secrets_of_form",
    "without",
]

# RFC 3986, section 3.2: an authority ends at the first slash, question mark or number sign.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:([^/?#]*)@)?([^/?#@]*)(.*)", re.DOTALL)
_HOST = r"(?:[A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_HOSTS = re.compile(f"{_HOST}(?:,{_HOST})*")  # PostgreSQL takes several
_UNREADABLE = "an address that cannot be read"

# Fields of token requests and answers that may be shown (RFC 6749, RFC 7523, RFC 8693).
_OPEN_FIELDS = frozenset(
    {
        "error",
        "error_description",
        "error_subtype",
        "expires_in",
        "grant_type",
        "scope",
        "token_type",
    }
)
_LONGEST = 300
_MASKED = "(masked)"
_TOKENS = re.compile(
    r"(?<!\w)ya29\.[\w./+-]+"  # an access token of Google
    r"|(?<![\w-])eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*"  # a JSON Web Token (RFC 7519)
    r"|(?<![\w/])1//[\w-]{10,}"  # a refresh token of Google
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*",
    re.DOTALL,
)
"""What is a secret wherever it stands."""
_USER_INFO = re.compile(
    r"(?<=://)(?!(?:USER:PASSWORD|user:password)@)(?:"  # not what is written to show the form
    r"[^\s/?#@:]{0,255}:(?![0-9]{1,5}[/?#])\S{0,1000}"  # user and password, whatever that holds
    r"|[^\s/?#@]{1,1000}"  # a user, which may be a token
    r")@"
)
_AUTHORIZATION = re.compile(
    r"\b(bearer|basic|negotiate|digest)(\s+)(?=\S{0,1000}[0-9=._])[\w.~+/-]{8,}=*", re.IGNORECASE
)
"""Credentials of HTTP (RFC 9110 section 11.4)."""
_FIELDS = re.compile(
    r"\b((?:[\w-]{0,40}(?:password|passwd|secret|token|assertion|private_key|api_?key)|pwd|sig)"
    r"(?:=|[\"']\s*:\s*[\"']))(?!\(masked)[^\s\"'&,;]+",
    re.IGNORECASE,
)
"""Secrets of a query, a form, a connection string or a JSON object, by their names."""


@dataclass(frozen=True)
class Address:
    """An address apart from the user and the password that stood in it."""

    bare: str
    user: str | None = None
    password: str = field(default="", repr=False)


def address(text: str) -> Address:
    """Take user and password out of an address (RFC 3986 §3.2.1).

    They end at the last ``@`` before the host, and may be percent-encoded, as UTF-8.

    Raises
    ------
    ValueError
        Where the host is, is not clear; the message shows nothing of it.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError("an address such as https://host:port/")
    scheme, user_info, host, rest = found.groups()
    if "@" in rest or not _HOSTS.fullmatch(host):
        raise ValueError(
            "an address such as https://user:password@host:port/, with special characters of user "
            "and password percent-encoded: / as %2F, # as %23, ? as %3F, @ as %40"
        )
    bare = f"{scheme}://{host}{rest}"
    if user_info is None:
        return Address(bare)
    user, _, password = user_info.partition(":")
    return Address(bare, unquote(user), unquote(password))


def host_of(url: str) -> str:
    """Host and port of an address as they may be shown, whatever else the address holds."""
    found = _ADDRESS.fullmatch(url)
    if found is None or not _HOSTS.fullmatch(found[3]):
        return _UNREADABLE
    if "@" not in found[4]:
        return found[3]
    # The slash may stand in a password, and what looks like host or port may be its beginning.
    return _UNREADABLE if found[2] is not None else re.sub(":[0-9]+$", "", found[3])


def printable(url: str) -> str:
    """An address as it may be shown: without user and password, query and fragment."""
    found = _ADDRESS.fullmatch(url)
    host = host_of(url)
    if found is None or host == _UNREADABLE:
        return _UNREADABLE
    path = "" if "@" in found[4] else re.split("[?#]", found[4])[0]
    return readable(f"{found[1]}://{host}{path}")


def bare(url: str) -> str:
    """An address for a program, not to be shown: without user, password, query and fragment.

    Empty for what is no address.
    """
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:
            return ""
    except ValueError:
        return ""
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc, query="", fragment="").geturl()


def masked(text: str) -> str:
    """A text without what looks like a secret: tokens, keys, passwords of addresses."""
    text = _TOKENS.sub(_MASKED, text)
    text = _USER_INFO.sub(f"{_MASKED}@", text)
    text = _AUTHORIZATION.sub(rf"\1\2{_MASKED}", text)
    return _FIELDS.sub(rf"\1{_MASKED}", text)


def readable(text: str, secrets: Iterable[str] = ()) -> str:
    """Any text from elsewhere as it may be shown: one printable line of at most 300 characters.

    What looks like a secret is masked, and so are the given secrets of a request.
    """
    text = without(text, secrets)
    # Masked before it is cut: a part of a secret would not be known as one.
    text = masked(text)[: 30 * _LONGEST]
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def without(text: str, secrets: Iterable[str]) -> str:
    """A text in which some secrets are masked, however a text of the Web spells them."""
    for secret in filter(None, secrets):
        for spelling in _spellings(secret):
            text = text.replace(spelling, _MASKED)
    return text


def _spellings(secret: str) -> list[str]:
    """A secret as it is, and as texts of the Web spell it; the longest first."""
    spellings = {secret, escape(secret), quote_plus(secret, errors="surrogatepass")}
    spellings |= {quote(secret, safe, errors="surrogatepass") for safe in ("", "/")}
    spellings |= {json.dumps(secret, ensure_ascii=plain)[1:-1] for plain in (True, False)}
    return sorted(spellings, key=len, reverse=True)


def secrets_of_form(body: bytes | str | None) -> list[str]:
    """The values of a form that must not be shown, longest first."""
    values = [value for key, value in _form(body) if key not in _OPEN_FIELDS]
    return sorted((value for value in values if len(value) >= 4), key=len, reverse=True)


def masked_form(body: bytes | str | None) -> dict[str, str]:
    """A form as it may be logged."""
    return masked_fields(dict(_form(body)))


def masked_fields(
    fields: Mapping[str, Any], show: Callable[[str], str] = readable
) -> dict[str, str]:
    """Fields as they may be logged: what is not known to be harmless shows its length only.

    Parameters
    ----------
    show
        What may be seen of a name, or of the value of a field that holds no secret.
    """
    return {
        show(key): show(str(value)) if key in _OPEN_FIELDS else _mask(value)
        for key, value in fields.items()
    }


def _mask(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"(masked, {len(text)} characters)"


def _form(body: bytes | str | None) -> list[tuple[str, str]]:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
    return parse_qsl(text, keep_blank_values=True)
