"""The commands that remedies are made of, and how a remedy is chosen by the words of an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orthanc_gcp.auth.credentials.documents import user_name
from orthanc_gcp.doctor.circumstances import Circumstances

__all__ = ["LOGIN", "NEW_KEY", "SET_CLOCK", "WAIT", "Remedy", "chosen", "filled", "grant"]

NEW_KEY = "gcloud iam service-accounts keys create KEY.json --iam-account={email}"
LOGIN = "gcloud auth application-default login"
SET_CLOCK = "correct this machine's clock: timedatectl set-ntp true"
WAIT = "wait: the connector tries again; see https://status.cloud.google.com if it lasts"

Remedy = str | Callable[[str, Circumstances], str]
"""A text with ``{email}``, ``{target}``, ``{source}``, ``{user}`` and ``{again}``; or its maker."""


def chosen(choices: Mapping[str, Remedy], message: str, about: Circumstances) -> str:
    """The remedy of the first words that a message has; the empty word stands for any other."""
    words = next((words for words in choices if words and words in message), "")
    remedy = choices.get(words, WAIT)
    return remedy if isinstance(remedy, str) else remedy(message, about)


def filled(text: str, about: Circumstances) -> str:
    """A remedy with the names of the account in it."""
    account = about.account
    values = {
        "again": LOGIN if _is_user(about) else "make a new key: " + NEW_KEY,
        "email": about.own_email or f"ACCOUNT@{account.project}.iam.gserviceaccount.com",
        "target": account.impersonate_service_account or about.email or "TARGET",
        "source": about.source,
        "user": user_name(),
        "quota": _quota_project(about),
    }
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _quota_project(about: Circumstances) -> str:
    identity = about.identity
    return (identity and identity.quota_project) or about.account.quota_project or "PROJECT"


def _is_user(about: Circumstances) -> bool:
    account = about.account
    if about.identity is not None:
        return "user" in about.identity.kind
    keys = (account.service_account_file, account.service_account_json, account.credentials_file)
    return not any(keys)


def grant(about: Circumstances, *roles: str) -> str:
    """The commands that give roles on the store."""
    account = about.account
    return "; ".join(
        f"gcloud healthcare dicom-stores add-iam-policy-binding {account.dicom_store} "
        f"--dataset={account.dataset} --location={account.location} "
        f"--project={account.project} --member={about.member} --role={role}"
        for role in roles
    )
