"""How the Orthanc that a configuration describes is reached from this machine."""

from __future__ import annotations

import hashlib
import re
import ssl
from urllib.parse import SplitResult, urlsplit

from orthanc_gcp import redaction
from orthanc_gcp.configuration import Settings
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.redaction import Address

__all__ = ["address", "client", "fingerprint", "own"]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def client(
    settings: Settings,
    given: str | None = None,
    *,
    variable: str = "",
    timeout: float = 30,
    connections: int = 4,
) -> OrthancRest:
    """A client of Orthanc's REST API.

    Parameters
    ----------
    given
        The address that somebody gave; without one, it is what the configuration says.
    variable
        The environment variable that an address may be given in, for the message.

    Raises
    ------
    ConfigurationError
        The address is none, or by its configuration Orthanc would not serve, or not without a
        user.
    """
    url = given or address(settings)
    there, parts = _parts(url)
    local = parts.hostname in _LOOPBACK and parts.port == settings.orthanc.http_port
    if local and settings.asks_for_user and there.user is None:
        raise ConfigurationError(
            "AuthenticationEnabled: Orthanc asks for a user and a password, give them in the "
            f"variable {variable}, as {parts.scheme}://USER:PASSWORD@{parts.netloc}/"
        )
    pinned = local and settings.orthanc.ssl_enabled and parts.scheme == "https"
    return OrthancRest(
        url,
        timeout=timeout,
        ca_certificates=settings.ca_certificates,
        fingerprint=fingerprint(settings) if pinned else "",
        connections=connections,
    )


def own(settings: Settings) -> OrthancRest:
    """The Orthanc of this machine as its configuration says, without a user.

    Raises
    ------
    ConfigurationError
        It does not serve, or its certificate cannot be read.
    """
    pinned = settings.orthanc.ssl_enabled
    return OrthancRest(address(settings), fingerprint=fingerprint(settings) if pinned else "")


def address(settings: Settings) -> str:
    """Where Orthanc serves its REST API on this machine.

    Raises
    ------
    ConfigurationError
        It does not.
    """
    if not settings.orthanc.http_server_enabled:
        raise ConfigurationError(
            "HttpServerEnabled is false: this Orthanc has no REST API that could be asked"
        )
    scheme = "https" if settings.orthanc.ssl_enabled else "http"
    return f"{scheme}://127.0.0.1:{settings.orthanc.http_port}/"


def fingerprint(settings: Settings) -> str:
    """SHA-256 of the certificate that Orthanc shows: the first in its file.

    Raises
    ------
    ConfigurationError
        There is none, or the file cannot be read.
    """
    file = settings.folder / settings.orthanc.ssl_certificate
    try:
        text = file.read_text("ascii", errors="replace")
    except OSError as error:
        raise ConfigurationError(
            f"SslCertificate: {file} cannot be read: {error.strerror}"
        ) from None
    found = re.search("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    try:
        der = ssl.PEM_cert_to_DER_cert(found[0]) if found else b""
    except ValueError:
        der = b""
    if not der:
        raise ConfigurationError(f"SslCertificate: there is no certificate in {file}")
    return hashlib.sha256(der).hexdigest()


def _parts(url: str) -> tuple[Address, SplitResult]:
    """An address in its parts; a message never repeats it, for it may hold a password."""
    try:
        there = redaction.address(url)
        parts = urlsplit(there.bare)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return there, parts
    except ValueError:
        pass
    raise ConfigurationError(
        "Orthanc's address: expected http://user:password@host:port/, with %XX for characters "
        "of the password that have a meaning in addresses"
    )
