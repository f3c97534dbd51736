"""Connections to servers: authorities, proxies, and what goes wrong on the way, in words.

Whatever speaks HTTP with Google stands on this: the small exchanges of tokens and the large ones
of images take the same way, and tell of its faults in the same words.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3 import exceptions

from orthanc_gcp.secrecy import address, printable, readable

__all__ = [
    "AuthoritiesError",
    "basic_authorization",
    "fault",
    "pools",
    "proxy_of",
    "tls_context",
]


class AuthoritiesError(exceptions.SSLError):
    """The file of certificate authorities cannot be used."""


def pools(
    proxy: str,
    tls: ssl.SSLContext | None,
    proxy_tls: Callable[[], ssl.SSLContext],
    **options: Any,
) -> urllib3.PoolManager:
    """Pools of connections, through a proxy (``host:port`` or a URL) unless it is empty.

    Raises
    ------
    ProxyError
        The address of the proxy, which may be the environment's, cannot be read.
    """
    if tls is not None:
        options["ssl_context"] = tls
    if not proxy:
        return urllib3.PoolManager(**options)
    try:
        there = address(proxy if "://" in proxy else f"http://{proxy}")
    except ValueError as error:
        raise exceptions.ProxyError("its address cannot be read", error) from None
    if there.user is not None:
        words = basic_authorization(there.user, there.password)
        options["proxy_headers"] = {"proxy-authorization": words}
    if urlsplit(there.bare).scheme == "https":
        options["proxy_ssl_context"] = proxy_tls()
    try:
        return urllib3.ProxyManager(_with_port(there.bare), **options)
    except exceptions.URLSchemeUnknown as error:
        raise exceptions.ProxyError(f"{printable(proxy)} is no HTTP proxy", error) from None


def _with_port(proxy: str) -> str:
    """A proxy with the port that libcurl, and so Orthanc itself, takes where none is given."""
    parts = urlsplit(proxy)
    if parts.scheme != "http" or parts.netloc.rpartition("]")[2].count(":"):
        return proxy
    return parts._replace(netloc=f"{parts.netloc}:1080").geturl()


def basic_authorization(user: str, password: str) -> str:
    """The value of an ``Authorization`` header (RFC 7617).

    Orthanc compares the bytes of UTF-8; ``urllib3.make_headers`` only knows those of Latin-1.
    """
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def tls_context(ca_certificates: Path | None, *, verify: bool) -> ssl.SSLContext:
    """What a server's certificate is judged by.

    Raises
    ------
    AuthoritiesError
        The file of authorities cannot be used.
    """
    if not verify:
        urllib3.disable_warnings(exceptions.InsecureRequestWarning)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=ca_certificates)
    except OSError as error:  # ssl.SSLError is one
        raise AuthoritiesError(
            f"the certificate authorities in {ca_certificates} (HttpsCACertificates) "
            f"cannot be used: {error.strerror or error}"
        ) from None


def proxy_of(url: str, proxy: str) -> str:
    """The proxy that a request takes: the configured one, or the environment's; may be empty."""
    local = urlsplit(url).netloc in _metadata_servers()
    return "" if local else proxy or _environment_proxy(url)


def fault(error: exceptions.HTTPError, limit: float) -> tuple[str, str]:
    """A reason for programs, and words, for what went wrong below HTTP."""
    if isinstance(error, AuthoritiesError):
        return "ca_certificates", str(error)
    if isinstance(_cause(error), exceptions.LocationParseError):  # its words are the address
        return "address", "this address cannot be read"
    if isinstance(error, exceptions.ProxyError):
        return "proxy", f"the proxy refuses or cannot be reached ({_innermost(error)})"
    if isinstance(error, exceptions.NameResolutionError):
        return "dns", "the host name cannot be resolved, check DNS and HttpProxy"
    if isinstance(error, exceptions.NewConnectionError):
        return "connection", f"no connection ({_innermost(error)})"
    if isinstance(error, exceptions.TimeoutError) or isinstance(_cause(error), TimeoutError):
        return "timeout", f"no complete answer within {limit:g} s"
    if isinstance(error, exceptions.SSLError):
        return "tls", f"TLS failed: {_innermost(error)}, check HttpsCACertificates"
    if "IncompleteRead" in str(error):  # urllib3 wraps it in an error of another type
        return "truncated", "the answer broke off before its end"
    return "protocol", f"the exchange broke off ({_innermost(error)})"


def _metadata_servers() -> tuple[str, ...]:
    """The platform's metadata server is on the local link: no proxy leads there."""
    named = (os.environ.get("GCE_METADATA_HOST"), os.environ.get("GCE_METADATA_IP"))
    return ("metadata.google.internal", "169.254.169.254", *filter(None, named))


def _environment_proxy(url: str) -> str:
    """The proxy that libcurl, and so Orthanc itself, would take from the environment."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return ""
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all") or ""


def _innermost(error: BaseException) -> str:
    """The words of the operating system, of OpenSSL or of the HTTP parser."""
    error = _cause(error)
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return readable(text or type(error).__name__)


def _cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
