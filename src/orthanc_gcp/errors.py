"""The one exception tree.

::

    GcpError
    ├── ConfigurationError              an option is missing, wrong or contradictory
    │   └── AddressInUseError           another process listens where this one is to
    ├── CredentialError                 a credential file or value cannot be used as it is
    ├── NetworkError                    no complete answer came: what went wrong below HTTP
    ├── TokenError                      a token endpoint refused, or answered with no token
    ├── StoreError                      a DICOM store refused a request, or gave no usable answer;
    │                                   where none came at all, a NetworkError is its cause
    ├── SubscriptionError               Pub/Sub refused, or gave no usable answer; as above
    ├── SourceError                     an instance could not be produced as announced, to be sent
    ├── LedgerError                     the ledger is in use, damaged, or of another version
    ├── OrthancError                    Orthanc did not do what it was asked
    │   ├── OrthancUnavailableError     it does not answer, or something else answers in its place
    │   ├── OrthancGoneError            it does not have the resource any more
    │   └── OrthancRefusedError         it answered with an error
    ├── DefinitionError                 the DICOMweb plugin does not take a server definition
    ├── WorkerUnavailableError          the worker does not run, or does not answer
    ├── WebhookError                    the webhook's server did not take what was posted
    ├── MailError                       the mail server did not take a message
    └── InstallationError               the plugin cannot be installed into this Orthanc

Callers decide by the class and its attributes. ``str()`` is for the person who reads the log at
night; no message ever holds a token, a key, a client secret or patient data.
"""

from __future__ import annotations

from pathlib import Path

from orthanc_gcp.reasons import (
    CredentialReason,
    ErrorDetails,
    LedgerReason,
    LocalReason,
    NetworkFault,
    general,
)
from orthanc_gcp.redaction import bare, masked

__all__ = [
    "AddressInUseError",
    "ConfigurationError",
    "CredentialError",
    "DefinitionError",
    "GcpError",
    "InstallationError",
    "LedgerError",
    "MailError",
    "NetworkError",
    "OrthancError",
    "OrthancGoneError",
    "OrthancRefusedError",
    "OrthancUnavailableError",
    "SourceError",
    "StoreError",
    "SubscriptionError",
    "TokenError",
    "WebhookError",
    "WorkerUnavailableError",
]


class GcpError(Exception):
    """Base of all errors of this package.

    Attributes
    ----------
    reason : str
        A short word for programs, one of :mod:`orthanc_gcp.reasons`.
    status : int or None
        The HTTP status that came back, where there was one.
    """

    reason: str = ""

    def __init__(
        self, message: str, *, reason: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(masked(message))
        if reason is not None:
            self.reason = reason
        self.status = status

    @property
    def kind(self) -> str:
        """What two errors have in common whose words differ in figures only."""
        return f"{self.reason} {self.status or ''}".strip()


class ConfigurationError(GcpError):
    """An option is missing, wrong or contradictory; the message names it by its path."""

    reason = LocalReason.CONFIGURATION


class AddressInUseError(ConfigurationError):
    """Another process listens where this one is to, which may end."""


class CredentialError(GcpError):
    """A credential cannot be used as it is; the message says what is wrong with it.

    Attributes
    ----------
    option : str
        What names the credential: an option, or a variable of the environment; empty for none.
    path : Path or None
        The file or folder that it is about.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: CredentialReason,
        option: str = "",
        path: Path | None = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.option = option
        self.path = path


class NetworkError(GcpError):
    """No complete answer came: what went wrong below HTTP.

    Attributes
    ----------
    fault : NetworkFault
        What went wrong; ``reason`` is the general part of it, ``proxy`` for ``proxy_dns``.
    url : str
        The address that was asked, without user and query; empty where none was.
    retryable : bool
        Whether the same call may succeed later without anybody changing anything.
    """

    def __init__(self, message: str, *, fault: NetworkFault, url: str = "") -> None:
        super().__init__(message, reason=general(fault))
        self.fault = fault
        self.url = bare(url)
        self.retryable = fault is not NetworkFault.CA_CERTIFICATES

    @property
    def is_timeout(self) -> bool:
        """Whether the other side took longer than it may."""
        return self.reason == NetworkFault.TIMEOUT


class TokenError(GcpError):
    """A token endpoint refused (RFC 6749 §5.2), or what it answered is no usable token.

    Attributes
    ----------
    url : str
        The address that was asked, without user and query; empty where none was.
    details : ErrorDetails
        What else Google said.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int | None = None,
        url: str = "",
        details: ErrorDetails | None = None,
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.url = bare(url)
        self.details = details or ErrorDetails()


class StoreError(GcpError):
    """A DICOM store refused a request, or gave no usable answer to it.

    Attributes
    ----------
    retryable : bool
        Whether the same call may succeed later without anybody changing anything.
    retry_after : float or None
        How many seconds the store asks to wait, between 0 and 3600, where it does.
    details : ErrorDetails
        What else Google said.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retryable: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
        details: ErrorDetails | None = None,
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.retryable = retryable
        self.retry_after = retry_after
        self.details = details or ErrorDetails()


class SubscriptionError(GcpError):
    """Pub/Sub refused a request about a subscription, or gave no usable answer to it.

    Attributes
    ----------
    retryable : bool
        Whether the same call may succeed later without anybody changing anything.
    retry_after : float or None
        How many seconds it asks to wait, between 0 and 3600, where it does.
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

    Its ``__cause__`` is what the source raised, if anything.

    Attributes
    ----------
    sop_instance_uid : str
        Which one.
    """

    def __init__(self, message: str, *, sop_instance_uid: str, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.sop_instance_uid = sop_instance_uid


class LedgerError(GcpError):
    """The ledger cannot be used as it is; the message says what to do."""

    def __init__(self, message: str, *, reason: LedgerReason) -> None:
        super().__init__(message, reason=reason)


class OrthancError(GcpError):
    """Orthanc did not do what it was asked."""

    reason = LocalReason.ORTHANC


class OrthancUnavailableError(OrthancError):
    """Orthanc does not answer, broke off, or something else answers in its place.

    Attributes
    ----------
    timed_out : bool
        Whether it took longer to answer than it may, or answered more: a smaller question may be
        answered.
    """

    reason = LocalReason.ORTHANC_UNAVAILABLE

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class OrthancGoneError(OrthancError):
    """Orthanc does not have the resource any more."""

    reason = LocalReason.ORTHANC_GONE


class OrthancRefusedError(OrthancError):
    """Orthanc answered with an error; ``status`` says which, 401 asks for a user."""

    reason = LocalReason.ORTHANC_REFUSED


class DefinitionError(GcpError):
    """The DICOMweb plugin does not take the server definition of an account."""

    reason = LocalReason.DEFINITION


class WorkerUnavailableError(GcpError):
    """The worker does not run just now, or does not answer."""

    reason = LocalReason.WORKER_UNAVAILABLE


class WebhookError(GcpError):
    """The webhook's server did not take what was posted; ``status`` is its answer."""

    reason = LocalReason.WEBHOOK


class MailError(GcpError):
    """The mail server did not take a message; ``status`` is its reply code (RFC 5321)."""

    reason = LocalReason.MAIL


class InstallationError(GcpError):
    """The plugin cannot be installed into this Orthanc, or taken out; the message says why."""

    reason = LocalReason.INSTALLATION
