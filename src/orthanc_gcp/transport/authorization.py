"""In whose name, and at whose cost, a DICOM store is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Authorization", "fits_a_header"]


def fits_a_header(token: str) -> bool:
    """Whether a token can stand in a header, and can inject no other (RFC 6750 §2.1)."""
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


@dataclass(frozen=True)
class Authorization:
    """What every request to an account's store carries.

    Attributes
    ----------
    token : str
        The access token.
    quota_project : str or None
        The project that the request is billed to, where the identity names one. It belongs to the
        token: a credential file that is changed may change both.
    """

    token: str = field(repr=False)
    quota_project: str | None = None

    def headers(self) -> dict[str, str]:
        """The headers that say so (RFC 6750 §2.1; Google's system parameter ``$userProject``)."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.quota_project:
            headers["x-goog-user-project"] = self.quota_project
        return headers
