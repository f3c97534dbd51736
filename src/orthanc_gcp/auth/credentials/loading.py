"""Account -> google-auth credentials, and what is wrong with them, in words.

Loading reads files, never the network. Each kind of credential imports what it needs when it is
first used, so that an account only pays for its own.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from orthanc_gcp.auth.credentials import (
    application_default,
    documents,
    external,
    impersonation,
    keys,
    mistaken,
)
from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.errors import CredentialError
from orthanc_gcp.reasons import CredentialReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from orthanc_gcp.auth.credentials.documents import Document
    from orthanc_gcp.configuration import Account, Settings

    Maker = Callable[[Document, Account, tuple[str, ...]], Identity]

__all__ = ["Identity", "load"]

# What became of the recipe in the original's documentation.
_DEAD_RECIPE = (
    ": gcloud no longer writes the refresh token with 'gcloud auth print-access-token --format "
    "json'. Run 'gcloud auth application-default login' and name the file that it writes "
    "(application_default_credentials.json)"
)
_PROJECT = re.compile(r"(?!\.+$)[A-Za-z0-9._:-]+")


def load(account: Account, settings: Settings) -> Identity:
    """The identity of an account, ready to acquire tokens.

    Raises
    ------
    CredentialError
        The credential cannot be read, or is not what the option expects; ``reason`` says which.
    """
    if account.impersonate_service_account is None:
        return _billed(_own(account, settings, account.scopes))
    source = _own(account, settings, impersonation.SOURCE_SCOPES)
    return _billed(impersonation.impersonated(source, account))


def _billed(identity: Identity) -> Identity:
    """The same identity, if its quota project can stand in a header: that of a file is as found."""
    project = identity.quota_project
    if project is None or (isinstance(project, str) and _PROJECT.fullmatch(project)):
        return identity
    where = identity.document.where if identity.document else "QuotaProject"
    raise CredentialError(
        f"{where}: expected a quota_project_id of letters, digits, '-', '_', '.' or ':'",
        reason=CredentialReason.QUOTA_PROJECT,
    )


def _own(account: Account, settings: Settings, scopes: tuple[str, ...]) -> Identity:
    """Who the account is before any impersonation; the original's precedence among its options."""
    if account.credentials is not None:
        return application_default.find(
            partial(_of_any_type, account=account, scopes=scopes), scopes
        )
    if account.credentials_file is not None:
        path = settings.credential_file(account.credentials_file)
        return _of_any_type(documents.read(path, "CredentialsFile"), account, scopes)
    if account.service_account_json is not None:
        document = documents.inline(account.service_account_json, "ServiceAccountJson")
        return _of_type("service_account", document, account, scopes)
    if account.service_account_file is not None:
        path = settings.credential_file(account.service_account_file)
        document = documents.read(path, "ServiceAccountFile")
        return _of_type("service_account", document, account, scopes)
    if account.authorized_user_file is not None:
        path = settings.credential_file(account.authorized_user_file)
        document = documents.read(path, "AuthorizedUserFile")
        return _of_type("authorized_user", document, account, scopes)
    return keys.user_strings(account)


_MAKERS: dict[str, Maker] = {
    "service_account": keys.service_account,
    "authorized_user": keys.user,
    "external_account": external.external_account,
    "external_account_authorized_user": external.external_user,
}


def _of_any_type(document: Document, account: Account, scopes: tuple[str, ...]) -> Identity:
    """Any file that google-auth understands, by its type."""
    _refuse_mistakes(document)
    kind = document.fields.get("type")
    if kind == "impersonated_service_account":
        return impersonation.of_file(document, account, scopes, _of_any_type)
    make = _MAKERS.get(kind) if isinstance(kind, str) else None
    if make is None:
        expected = ", ".join([*_MAKERS, "impersonated_service_account"])
        raise document.fault(
            f"expected a type of {expected}, found {documents.word(kind)}",
            CredentialReason.WRONG_TYPE,
        )
    return make(document, account, scopes)


def _of_type(
    expected: str, document: Document, account: Account, scopes: tuple[str, ...]
) -> Identity:
    """A file of the one type that an option of the original takes; old gcloud wrote no type."""
    _refuse_mistakes(document, _DEAD_RECIPE if expected == "authorized_user" else "")
    kind = document.fields.get("type", expected)
    if kind == expected:
        return _MAKERS[expected](document, account, scopes)
    belongs = {"service_account": "ServiceAccountFile", "authorized_user": "AuthorizedUserFile"}
    option = belongs.get(kind, "CredentialsFile") if isinstance(kind, str) else None
    what = (
        "the key of a service account" if expected == "service_account" else "a user's credentials"
    )
    raise document.fault(
        f"expected {what}, found the type {documents.word(kind)}"
        + (f", which belongs in {option}" if option else ""),
        CredentialReason.OTHER_OPTION if option else CredentialReason.WRONG_TYPE,
    )


def _refuse_mistakes(document: Document, more: str = "") -> None:
    """Name what somebody took for a credential."""
    mistake = mistaken.of_fields(document.fields)
    if mistake is not None:
        reason, words = mistake
        more = more if reason is CredentialReason.ONLY_ACCESS_TOKEN else ""
        raise document.fault(words + more, reason)
