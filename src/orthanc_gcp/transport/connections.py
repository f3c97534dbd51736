"""Connections to servers: authorities, proxies, and what goes wrong on the way, in words.

Whatever speaks HTTP with Google stands on this: the small exchanges of tokens and the large ones
of images take the same way, and its faults have the same words.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3 import exceptions

from orthanc_gcp.error_text import classified
from orthanc_gcp.errors import NetworkError
from orthanc_gcp.reasons import NetworkFault
from orthanc_gcp.redaction import Address, address, readable
from orthanc_gcp.transport.tls_sessions import ResumingContext

__all__ = [
    "AuthoritiesError",
    "Proxy",
    "basic_authorization",
    "excepted",
    "network_error",
    "pools",
    "proxy_of",
    "tls_context",
]

# X509_V_ERR_… of OpenSSL's x509_vfy.h -> the name of the fault.
_VERIFICATION = {
    9: NetworkFault.TLS_EARLY,
    10: NetworkFault.TLS_EXPIRED,
    18: NetworkFault.TLS_AUTHORITY,
    19: NetworkFault.TLS_AUTHORITY,
    20: NetworkFault.TLS_AUTHORITY,
    21: NetworkFault.TLS_AUTHORITY,
    62: NetworkFault.TLS_NAME,
    64: NetworkFault.TLS_NAME,
}
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}


class AuthoritiesError(exceptions.SSLError):
    """The file of certificate authorities cannot be used."""


@dataclass(frozen=True)
class Proxy:
    """A proxy, and who says that it is to be used.

    Attributes
    ----------
    url : str
        ``host:port`` or a URL, as configured: it may hold a password.
    option : str
        ``HttpProxy``, or the variable of the environment.
    """

    url: str = field(repr=False)
    option: str

    @property
    def address(self) -> Address:
        """The address, apart from user and password.

        Raises
        ------
        LocationParseError
            It is none.
        """
        try:
            return address(self.url if "://" in self.url else f"http://{self.url}")
        except ValueError:
            raise exceptions.LocationParseError("the address of the proxy") from None

    @property
    def parts(self) -> SplitResult:
        """The address taken apart; raises LocationParseError as :attr:`address` does."""
        parts = urlsplit(self.address.bare)
        if not parts.hostname or not _has_port(parts):
            raise exceptions.LocationParseError("the address of the proxy")
        return parts

    @property
    def port(self) -> int:
        """The port, given or that of libcurl, and so of Orthanc itself."""
        return self.parts.port or (443 if self.parts.scheme == "https" else 1080)

    @property
    def unauthorized(self) -> str:
        """What its status 407 means (RFC 9110 §15.5.8)."""
        known = self.address.user is not None
        wrong = "refuses the user or password" if known else "wants a user"
        return f"{self} {wrong} (407)"

    def __str__(self) -> str:
        """Without user and password."""
        where = "Orthanc's configuration" if self.option == "HttpProxy" else "the environment"
        try:
            scheme = "" if self.parts.scheme == "http" else f"{self.parts.scheme}://"
            name = f"{scheme}{self.parts.hostname}:{self.port} "
        except exceptions.LocationParseError:
            name = ""
        return f"the proxy {name}({self.option} in {where})"


def _has_port(parts: SplitResult) -> bool:
    """Whether a port, if one is given, can be one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def pools(
    proxy: Proxy | None,
    tls: ssl.SSLContext | None,
    proxy_tls: Callable[[], ssl.SSLContext],
    **options: Any,
) -> urllib3.PoolManager:
    """Pools of connections, through a proxy if there is one.

    Raises
    ------
    LocationValueError
        The address of the proxy, which may be the environment's, cannot be read or used.
    """
    if tls is not None:
        options["ssl_context"] = tls
    if proxy is None:
        return urllib3.PoolManager(**options)
    there = proxy.address
    if there.user is not None:
        words = basic_authorization(there.user, there.password)
        options["proxy_headers"] = {"proxy-authorization": words}
    if proxy.parts.scheme == "https":
        options["proxy_ssl_context"] = proxy_tls()
    host = proxy.parts.netloc.rpartition(":")[0] if proxy.parts.port else proxy.parts.netloc
    return urllib3.ProxyManager(f"{proxy.parts.scheme}://{host}:{proxy.port}", **options)


def basic_authorization(user: str, password: str) -> str:
    """The value of an ``Authorization`` header (RFC 7617).

    Orthanc compares the bytes of UTF-8; ``urllib3.make_headers`` only knows those of Latin-1.
    """
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def tls_context(ca_certificates: Path | None, *, verify: bool) -> ResumingContext:
    """What a server's certificate is judged by.

    Raises
    ------
    AuthoritiesError
        The file of authorities cannot be used.
    """
    if not verify:
        urllib3.disable_warnings(exceptions.InsecureRequestWarning)
        context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        return ResumingContext.verifying(ca_certificates)
    except OSError as error:  # ssl.SSLError is one
        raise AuthoritiesError(
            f"the certificate authorities in {ca_certificates} (HttpsCACertificates) "
            f"cannot be used: {_unusable(ca_certificates, error)}"
        ) from None


def _unusable(authorities: Path | None, error: OSError) -> str:
    """What a file is that holds no authorities."""
    if not isinstance(error, ssl.SSLError) or authorities is None:
        return error.strerror or str(error)
    try:
        with authorities.open("rb") as file:
            content = file.read(1 << 20)
    except OSError as gone:
        return gone.strerror or str(gone)
    if not content.strip():
        return "the file is empty"
    if content.startswith((b"\x30\x81", b"\x30\x82")):  # a SEQUENCE of ASN.1
        return "the file is DER, not PEM"
    if b"-----BEGIN CERTIFICATE-----" in content:
        return "the file holds a damaged certificate"
    if b"PRIVATE KEY-----" in content:
        return "the file holds a key, but no certificate"
    return "the file is not PEM"


def proxy_of(url: str, proxy: str) -> Proxy | None:
    """The proxy that a request takes: the configured one, or the environment's, if any.

    The environment's ``no_proxy`` counts for either, as for libcurl, and so for Orthanc itself.
    """
    if urlsplit(url).netloc in _metadata_servers():
        return None
    if not proxy:
        return _environment_proxy(url)
    return None if _is_excepted(url) else Proxy(proxy, "HttpProxy")


def excepted(url: str, proxy: str) -> str:
    """The variable of the environment that keeps a request from its proxy; mostly none.

    Parameters
    ----------
    proxy
        The configured one, if any.
    """
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    of_environment = proxies.get(parts.scheme) or proxies.get("all")
    if not _is_excepted(url) if proxy else not (of_environment and proxy_bypass(parts.netloc)):
        return ""
    return _variable("no")


def network_error(
    error: exceptions.HTTPError,
    what: str,
    url: str,
    *,
    limit: float,
    proxy: Proxy | None = None,
) -> NetworkError:
    """What went wrong below HTTP, as one of our errors.

    Parameters
    ----------
    what
        Names the server, or the request, in the message.
    url
        The address that was asked.
    limit
        Seconds that the exchange might take.
    proxy
        The one that the request took.
    """
    fault, words = _fault(error, limit, proxy)
    return NetworkError(f"{what}: {words}", fault=fault, url=url)


def _fault(
    error: exceptions.HTTPError, limit: float, proxy: Proxy | None
) -> tuple[NetworkFault, str]:
    through = f" through {proxy}" if proxy else ""
    if isinstance(error, AuthoritiesError):
        return NetworkFault.CA_CERTIFICATES, str(error)
    if proxy and isinstance(error, exceptions.ProxyError | exceptions.LocationValueError):
        return _proxy_fault(error, limit, proxy)
    if isinstance(_cause(error), exceptions.LocationParseError):  # its words are the address
        return NetworkFault.ADDRESS, "this address cannot be read"
    if isinstance(error, exceptions.NameResolutionError):
        return NetworkFault.DNS, "the host name cannot be resolved, check DNS and HttpProxy"
    if isinstance(error, exceptions.NewConnectionError):
        return NetworkFault.CONNECTION, f"no connection ({_innermost(error)})"
    if isinstance(error, exceptions.ConnectTimeoutError):
        return NetworkFault.TIMEOUT_CONNECT, f"no connection within {limit:g} s{through}"
    if isinstance(error, exceptions.TimeoutError) or isinstance(_cause(error), TimeoutError):
        return NetworkFault.TIMEOUT, f"no complete answer within {limit:g} s{through}"
    if isinstance(error, exceptions.SSLError):
        return _tls_fault(error, through)
    if "IncompleteRead" in str(error):  # urllib3 wraps it in an error of another type
        return NetworkFault.TRUNCATED, f"the answer broke off before its end{through}"
    return NetworkFault.PROTOCOL, f"the exchange broke off{through} ({_innermost(error)})"


def _proxy_fault(
    error: exceptions.HTTPError, limit: float, proxy: Proxy
) -> tuple[NetworkFault, str]:
    """What is wrong with the proxy itself, or with what it says."""
    if isinstance(error, exceptions.LocationValueError):
        return (
            NetworkFault.PROXY_ADDRESS,
            f"{proxy} cannot be used: expected HOST:PORT, http:// or https://",
        )
    inner, cause = getattr(error, "original_error", None), _cause(error)
    refused = re.search(r"Tunnel connection failed: (\d{3})", str(cause))
    if refused and refused[1] == "407":
        return NetworkFault.PROXY_AUTHENTICATION, proxy.unauthorized
    if refused:
        return NetworkFault.PROXY_REFUSED, f"{proxy} does not lead there, it answers {refused[1]}"
    if isinstance(inner, exceptions.NameResolutionError):
        return NetworkFault.PROXY_DNS, f"the host name of {proxy} cannot be resolved"
    if isinstance(inner, exceptions.NewConnectionError):
        return NetworkFault.PROXY_CONNECTION, f"{proxy} cannot be reached ({_innermost(error)})"
    if isinstance(inner, exceptions.TimeoutError) or isinstance(cause, TimeoutError):
        return NetworkFault.PROXY_TIMEOUT, f"{proxy} cannot be reached within {limit:g} s"
    if isinstance(cause, ssl.SSLError):
        return NetworkFault.PROXY_TLS, f"TLS with {proxy} failed: {_innermost(error)}"
    return NetworkFault.PROXY_PROTOCOL, f"{proxy} broke off ({_innermost(error)})"


def _tls_fault(error: exceptions.SSLError, through: str) -> tuple[NetworkFault, str]:
    cause = _cause(error)
    words = f"TLS failed{through}: {_innermost(error).rstrip('.')}"
    if getattr(cause, "reason", None) in _NOT_TLS:
        return NetworkFault.TLS_PLAIN, f"{words}, does it speak https at all?"
    name = _VERIFICATION.get(getattr(cause, "verify_code", 0), NetworkFault.TLS)
    return name, words + (
        ", check HttpsCACertificates" if name is NetworkFault.TLS_AUTHORITY else ""
    )


def _metadata_servers() -> tuple[str, ...]:
    """The platform's metadata server is on the local link: no proxy leads there."""
    named = (os.environ.get("GCE_METADATA_HOST"), os.environ.get("GCE_METADATA_IP"))
    return ("metadata.google.internal", "169.254.169.254", *filter(None, named))


def _is_excepted(url: str) -> bool:
    """Whether ``no_proxy`` keeps a request from every proxy."""
    if not any(name.lower() == "no_proxy" for name in os.environ):
        return False
    from urllib.request import proxy_bypass

    return bool(proxy_bypass(urlsplit(url).netloc))


def _environment_proxy(url: str) -> Proxy | None:
    """The proxy that libcurl, and so Orthanc itself, would take from the environment."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    if proxy_bypass(parts.netloc):
        return None
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), None)
    return Proxy(proxies[kind], _variable(kind)) if kind else None


def _variable(kind: str) -> str:
    """How the environment spells ``https_proxy`` and its kind; small letters go first."""
    small = f"{kind}_proxy"
    return small if os.environ.get(small) else small.upper()


def _innermost(error: BaseException) -> str:
    """The words of the operating system or of OpenSSL; those of an HTTP parser quote the server."""
    error = _cause(error)
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "")
    if text and isinstance(error, OSError):
        return readable(text)
    return _PARSERS.get(type(error).__name__) or classified(str(error)) or type(error).__name__


_PARSERS = {
    "BadStatusLine": "it does not begin as an answer of HTTP does",
    "EndlessInterimError": "interim answers without end",
    "HTTPException": "it is no answer of HTTP",
    "IncompleteRead": "it breaks off before its end",
    "InvalidChunkLength": "its chunks have no length",
    "LineTooLong": "a line of its headers is too long",
    "RemoteDisconnected": "the connection was closed without an answer",
    "UnknownProtocol": "it is of another version of HTTP",
}
"""What http.client and urllib3 found wrong with an answer, by the names of their errors."""


def _cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
