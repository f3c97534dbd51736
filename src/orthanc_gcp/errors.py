"""The one exception tree.

::

    GcpError
    ├── ConfigurationError   an option is missing, wrong or contradictory
    ├── CredentialError      a credential file or value cannot be used as it is
    ├── TokenError           no access token could be had this time
    ├── OrthancError     Orthanc or its DICOMweb plugin refused the server definition
    ├── StoreError           a DICOM store refused a request, or gave no usable answer to it
    ├── SourceError            an instance could not be produced as announced, to be sent
    └── InstallationError    the plugin cannot be installed into this Orthanc, or taken out

Each error carries what a program needs; ``str()`` is for the person who reads the log at night.
No message ever holds a token, a key, a client secret or patient data.
"""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = [
    "ConfigurationError",
    "CredentialError",
    "GcpError",
    "InstallationError",
    "OrthancError",
    "SourceError",
    "StoreError",
    "TokenError",
    "general",
]


class GcpError(Exception):
    """Base of all errors of this package.

    Attributes
    ----------
    account : str or None
        The account that the error belongs to.
    reason : str
        A short word for programs: ``invalid_grant``, ``timeout``, ``missing_file``, …
    status : int or None
        The HTTP status that came back, where there was one.
    retryable : bool
        Whether the same call may succeed later without anybody changing anything.
    """

    retryable = False

    def __init__(
        self,
        message: str,
        *,
        account: str | None = None,
        reason: str = "",
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.account = account
        self.reason = reason
        self.status = status

    @property
    def kind(self) -> str:
        """What two errors have in common whose words differ in figures only."""
        return f"{self.reason} {self.status or ''}".strip()


class ConfigurationError(GcpError):
    """An option is missing, wrong or contradictory; the message names it by its path."""


class CredentialError(GcpError):
    """A credential cannot be used as it is; the message says what would mend it."""


class TokenError(GcpError):
    """No access token could be had this time; the keeper tries again later.

    Attributes
    ----------
    fault : str
        The name of what went wrong below HTTP, as :func:`orthanc_gcp.transport.connections.fault`
        has it: ``proxy_dns`` where the reason only says ``proxy``. As the reason where it is
        nothing such.
    url : str
        The address that was asked, without user and query; empty where none was.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        fault: str = "",
        status: int | None = None,
        url: str = "",
    ) -> None:
        super().__init__(message, reason=reason or general(fault), status=status)
        self.fault = fault or reason
        parts = urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        self.url = parts._replace(netloc=netloc, query="", fragment="").geturl()


def general(fault: str) -> str:
    """What the trouble is with, of the name of a fault below HTTP."""
    kind = fault.partition("_")[0]
    return kind if kind in ("dns", "proxy", "timeout", "tls") else fault


class OrthancError(GcpError):
    """Orthanc or its DICOMweb plugin refused the server definition."""

    retryable = True


class StoreError(GcpError):
    """A DICOM store refused a request, or gave no usable answer to it.

    Attributes
    ----------
    retry_after : float or None
        How many seconds the store asks to wait, between 0 and 3600, where it does.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retryable: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.retryable = retryable
        self.retry_after = retry_after


class SourceError(GcpError):
    """An instance could not be produced as announced, so that its request was broken off.

    Attributes
    ----------
    instance : str
        Its SOP Instance UID.
    """

    def __init__(self, message: str, *, instance: str, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.instance = instance


class InstallationError(GcpError):
    """The plugin cannot be installed into this Orthanc, or taken out; the message says why."""
