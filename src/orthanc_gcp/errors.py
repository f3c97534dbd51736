"""The one exception tree.

::

    GcpError
    ├── ConfigurationError   an option is missing, wrong or contradictory
    ├── CredentialError      a credential file or value cannot be used as it is
    ├── TokenError           no access token could be had this time
    └── PublicationError     Orthanc or its DICOMweb plugin refused the server definition

Each error carries what a program needs; ``str()`` is for the person who reads the log at night.
No message ever holds a token, a key, a client secret or patient data.
"""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "CredentialError",
    "GcpError",
    "PublicationError",
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
