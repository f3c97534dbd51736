"""The way to Google: names, proxy, TLS, and the clock at its other end."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from orthanc_gcp.errors import TokenError

__all__ = ["Way", "certificate_in_words", "resolve"]

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Way:
    """An address that the account needs, and how it is reached."""

    url: str
    proxy: str = ""

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


def resolve(host: str) -> str:
    """The first address of a host.

    Raises
    ------
    TokenError
        It has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise TokenError(f"the host name {host} cannot be resolved", reason="dns") from None
    return str(found[0][4][0])


def certificate_in_words(way: Way, timeout: float) -> str:
    """Who signed the certificate that a host shows, whether it is trusted or not.

    A certificate that stands in for Google's, as a firewall that reads along shows it, is named
    by its issuer. Empty if the host shows none.
    """
    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError, ValueError):
        with (
            socket.create_connection((way.host, way.port), timeout) as connection,
            context.wrap_socket(connection, server_hostname=way.host) as tls,
        ):
            shown = tls.getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(shown or b"")
        issuer = certificate.issuer.rfc4514_string()
        if certificate.not_valid_after_utc < datetime.now(UTC):
            return (
                f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}, "
                f"signed by {issuer}"
            )
        return f"the certificate is signed by {issuer}, which is not among the authorities"
    return ""
