"""What is known of an account while it is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.doctor.address_options import AddressOption, address_options, option_of
from orthanc_gcp.doctor.healthcare_api import Store
from orthanc_gcp.doctor.network import Target
from orthanc_gcp.errors import StoreError
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.request import Transport

__all__ = ["Examination"]


@dataclass
class Examination:
    """An account, and what its checks have found out so far.

    Attributes
    ----------
    write
        Whether the store may be changed for a moment.
    orthanc
        The Orthanc that serves the account; None where it cannot be asked.
    empty
        Whether a search has found nothing.
    identity, store, authorization
        Whose the account is, the store as that identity sees it, and what its requests carry; None
        until it is known.
    refusal
        What Google said to the first request, where that was an error.
    """

    account: Account
    settings: Settings
    transport: Transport
    clock: Clock
    write: bool
    orthanc: OrthancRest | None = None
    empty: bool = False
    identity: Identity | None = None
    store: Store | None = None
    authorization: Authorization | None = None
    refusal: StoreError | None = None

    @property
    def email(self) -> str | None:
        """Who the account is, where that is known."""
        return self.identity.email if self.identity else None

    @property
    def member(self) -> str:
        """Who the account is, as IAM policies spell it (Google's "Principal identifiers")."""
        return _member(self.email)

    @property
    def own_email(self) -> str | None:
        """Whose credential it is: before any impersonation."""
        credentials = self.identity and self.identity.credentials
        source = getattr(credentials, "_source_credentials", credentials)
        email = getattr(source, "service_account_email", None) or getattr(source, "account", None)
        return email if isinstance(email, str) and "@" in email else None

    @property
    def source(self) -> str:
        """The same, as IAM policies spell it."""
        return _member(self.own_email)

    @property
    def is_user(self) -> bool:
        """Whether the account is a person."""
        account = self.account
        if self.identity is not None:
            return "user" in self.identity.kind
        keys = (
            account.service_account_file,
            account.service_account_json,
            account.credentials_file,
        )
        return not any(keys)

    @property
    def quota_project(self) -> str:
        """The project that requests are billed to; empty where none is named."""
        identity = self.identity
        return (identity and identity.quota_project) or self.account.quota_project or ""

    @property
    def key_project(self) -> str:
        """The project that the account's identity belongs to; empty where that is unknown."""
        found = re.search(r"@([^.@]+)\.iam\.gserviceaccount\.com$", self.email or "")
        return found[1] if found else ""

    def target(self, url: str) -> Target:
        """How an address is reached."""
        return Target(url, self.transport.proxy_of(url), min(5.0, self.settings.timeout))

    def option_of(self, url: str) -> AddressOption | None:
        """Which option an address comes from; None if it is built in."""
        return option_of(url, self.address_options())

    def address_options(self) -> list[AddressOption]:
        """The addresses of the account that are written somewhere."""
        document = self.identity.document if self.identity else None
        return list(address_options(self.account, self.settings, document))


def _member(email: str | None) -> str:
    if email is None:
        return "MEMBER"
    kind = "serviceAccount" if email.endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{email}"
