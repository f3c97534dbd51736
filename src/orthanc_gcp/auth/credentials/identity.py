"""Who an account is: google-auth's credentials, and what people want to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from orthanc_gcp.redaction import readable
from orthanc_gcp.transport.authorization import Authorization

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from orthanc_gcp.auth.credentials.documents import Document

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity:
    """An identity that can acquire tokens.

    Attributes
    ----------
    kind : str
        What it is, in words: ``service account``, ``user``, …
    credentials : google.auth.credentials.Credentials
        Call ``refresh()`` for a token.
    scopes : tuple of str
        What it asks for; empty where the credential carries what it was granted.
    document : Document or None
        Where it was read from.
    quota_project : str or None
        The project that requests are billed to.
    """

    kind: str
    credentials: Credentials
    scopes: tuple[str, ...] = ()
    document: Document | None = None
    quota_project: str | None = None

    @property
    def email(self) -> str | None:
        """The e-mail address, where it is known; the metadata server sends it with a token."""
        credentials = self.credentials
        for name in ("service_account_email", "account"):
            value = getattr(credentials, name, None)
            if isinstance(value, str) and "@" in value:
                return readable(value)
        return None

    @property
    def file_names(self) -> frozenset[str]:
        """The files that a credential of workload identity federation reads (AIP-4117)."""
        source = self.document.fields.get("credential_source") if self.document else None
        name = source.get("file") if isinstance(source, dict) else None
        return frozenset({name} if isinstance(name, str) and name.isprintable() else ())

    def authorization(self, token: str) -> Authorization:
        """What a request carries that is made with an access token of this identity."""
        return Authorization(token, self.quota_project)

    def changed(self) -> bool:
        """Whether the file that it was read from is another one now."""
        return self.document is not None and self.document.changed()

    def key_age(self, now: datetime) -> float | None:
        """Days since a key file was written; None where there is no long-lived key."""
        if self.document is None or self.kind != "service account":
            return None
        written = self.document.written
        return None if written is None else max(0.0, (now - written).total_seconds() / 86400)
