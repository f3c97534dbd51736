"""The network on the way to Google, below HTTP: names, tunnels, protocols and certificates."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from orthanc_gcp.errors import NetworkError
from orthanc_gcp.reasons import NetworkFault
from orthanc_gcp.redaction import readable
from orthanc_gcp.transport.connections import Proxy, basic_authorization
from orthanc_gcp.transport.deadlines import BoundedResponse

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = [
    "Target",
    "certificate_names",
    "certificate_of",
    "describe_certificate",
    "name_servers",
    "resolve",
    "resolved",
    "speaks_http",
    "speaks_tls",
    "tunnels",
]

_PORTS = {"http": 80, "https": 443}
_TIMEOUT = 5.0
"""Seconds that one attempt may take."""


@dataclass(frozen=True)
class Target:
    """An address that the account needs, and the proxy through which it is reached."""

    url: str
    proxy: Proxy | None = None
    timeout: float = _TIMEOUT

    @property
    def parts(self) -> SplitResult:
        """The address taken apart."""
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """The host, as certificates name it."""
        return self.parts.hostname or ""

    @property
    def port(self) -> int:
        """The port, given or usual."""
        return self.parts.port or _PORTS[self.parts.scheme]

    @property
    def root(self) -> str:
        """The address without its path."""
        return f"{self.parts.scheme}://{self.parts.netloc}/"


# -- Names ------------------------------------------------------------------------------------


def resolve(target: Target) -> str:
    """The first address of a host.

    Raises
    ------
    NetworkError
        It has none.
    """
    try:
        found = socket.getaddrinfo(target.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        message = f"the host name {target.host} cannot be resolved"
        raise NetworkError(message, fault=NetworkFault.DNS, url=target.url) from None
    return str(found[0][4][0])


def resolved(hosts: set[str]) -> str:
    """One of these hosts that has an address; empty if none has.

    Addresses and this machine's own names are no hosts here: they need no name server.
    """
    names = sorted(host for host in hosts if _needs_a_name_server(host))
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = pool.map(_is_resolved, names)
        return next((name for name, known in zip(names, found, strict=True) if known), "")


def _needs_a_name_server(host: str) -> bool:
    if host in ("", "localhost", socket.gethostname()):
        return False
    with contextlib.suppress(ValueError):
        return not ip_address(host)
    return True


def _is_resolved(host: str) -> bool:
    with contextlib.suppress(OSError, UnicodeError):
        return bool(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    return False


def name_servers(file: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The name servers that this machine asks (resolv.conf(5))."""
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines]
    return [readable(each[1]) for each in fields if each[:1] == ["nameserver"] and each[1:]]


# -- What speaks there ------------------------------------------------------------------------


def tunnels(target: Target) -> bool:
    """Whether the proxy of a target lets its connections through."""
    with contextlib.suppress(OSError, HTTPException), _connected(target):
        return True
    return False


def speaks_http(target: Target) -> bool:
    """Whether HTTP without TLS is spoken at a target: its status line begins so (RFC 9112 §4)."""
    with contextlib.suppress(OSError, HTTPException), _connected(target) as connection:
        connection.sendall(f"HEAD / HTTP/1.0\r\nHost: {target.host}\r\n\r\n".encode())
        return connection.recv(5) == b"HTTP/"
    return False


def speaks_tls(target: Target) -> bool:
    """Whether TLS is spoken at a target, whether its certificate is trusted or not.

    One that refuses the handshake by an alert speaks it, too (RFC 8446 §6).
    """
    try:
        with _encrypted(target):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (OSError, HTTPException, ValueError):
        return False


def certificate_of(target: Target) -> Certificate | None:
    """The certificate that a host shows, whether it is trusted or not; None where it shows none."""
    from cryptography import x509

    with contextlib.suppress(OSError, HTTPException, ValueError), _encrypted(target) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    return None


@contextlib.contextmanager
def _connected(target: Target) -> Iterator[socket.socket]:
    """A connection to a target; through its proxy, with CONNECT (RFC 9110 §9.3.6)."""
    proxy = target.proxy
    if proxy is None:
        with socket.create_connection((target.host, target.port), target.timeout) as connection:
            yield connection
        return
    if proxy.parts.scheme == "https":
        raise ConnectionError("there is no need to look through such a proxy")
    tunnel = HTTPConnection(proxy.parts.hostname or "", proxy.port, timeout=target.timeout)
    tunnel.response_class = BoundedResponse
    tunnel.set_tunnel(target.host, target.port, _proxy_headers(proxy))
    with contextlib.closing(tunnel):
        tunnel.connect()
        yield tunnel.sock


def _proxy_headers(proxy: Proxy) -> dict[str, str]:
    there = proxy.address
    if there.user is None:
        return {}
    return {"Proxy-Authorization": basic_authorization(there.user, there.password)}


@contextlib.contextmanager
def _encrypted(target: Target) -> Iterator[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        _connected(target) as connection,
        context.wrap_socket(connection, server_hostname=target.host) as tls,
    ):
        yield tls


# -- Certificates -----------------------------------------------------------------------------


def describe_certificate(certificate: Certificate, fault: str, host: str) -> str:
    """What is wrong with a certificate, and who signed it: a firewall that reads along does."""
    now = datetime.now(UTC)
    own = certificate.issuer == certificate.subject
    issuer = "itself" if own else readable(certificate.issuer.rfc4514_string())
    signed = f"signed by {issuer}"
    if fault == "tls_name":
        return f"the certificate is for {certificate_names(certificate)}, not for {host}, {signed}"
    if certificate.not_valid_after_utc < now:
        return (
            f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}, {signed}; "
            f"this machine's clock says {now:%Y-%m-%d}"
        )
    if certificate.not_valid_before_utc > now:
        return (
            f"the certificate begins on {certificate.not_valid_before_utc:%Y-%m-%d}, {signed}; "
            f"this machine's clock says {now:%Y-%m-%d}"
        )
    if fault == "tls_authority":
        return f"the certificate is {signed}, which is not among the authorities"
    return f"the certificate is {signed}"


def certificate_names(certificate: Certificate) -> str:
    """Some of the hosts that a certificate is for (RFC 5280 §4.2.1.6)."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(name.value) for name in found]
    except (x509.ExtensionNotFound, ValueError):
        names = [certificate.subject.rfc4514_string()]
    return readable(", ".join(names[:4]) + (", …" if len(names) > 4 else "")) or "nobody"
