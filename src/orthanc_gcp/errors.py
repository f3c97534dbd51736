"""The one exception tree.

::

    GcpError
    ├── ConfigurationError   an option is missing, wrong or contradictory
    ├── CredentialError      a credential file or value cannot be used as it is
    ├── TokenError           no access token could be had this time
    ├── PublicationError     Orthanc or its DICOMweb plugin refused the server definition
    ├── StoreError           a DICOM store refused a request, or gave no usable answer to it
    └── PartError            an instance could not be produced as announced, to be sent

Each error carries what a program needs; ``str()`` is for the person who reads the log at night.
No message ever holds a token, a key, a client secret or patient data.
"""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "CredentialError",
    "GcpError",
    "PartError",
    "PublicationError",
    "StoreError",
    "TokenError",
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
    """No access token could be had this time; the keeper tries again later."""

    retryable = True


class PublicationError(GcpError):
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


class PartError(GcpError):
    """An instance could not be produced as announced, so that its request was broken off.

    Attributes
    ----------
    instance : str
        Its SOP Instance UID.
    """

    def __init__(self, message: str, *, instance: str, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.instance = instance
