"""What remedies are made of, how one is selected by an error, and how its names are filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.users import user_name

__all__ = ["LOGIN", "NEW_KEY", "SET_CLOCK", "WAIT", "Remedy", "fill_in", "grant", "select"]

NEW_KEY = "gcloud iam service-accounts keys create KEY.json --iam-account={email}"
LOGIN = "gcloud auth application-default login"
SET_CLOCK = "correct this machine's clock: timedatectl set-ntp true"
WAIT = "wait: the connector tries again; see https://status.cloud.google.com if it lasts"

Remedy = str | Callable[[str, Examination], str]
"""A text in which :func:`fill_in` replaces names in braces, such as ``{email}``; or its maker."""


def select(choices: Mapping[str, Remedy], message: str, examination: Examination) -> str:
    """The remedy of the first key that a message contains; the empty key stands for any other."""
    key = next((key for key in choices if key and key in message), "")
    remedy = choices.get(key, WAIT)
    return remedy if isinstance(remedy, str) else remedy(message, examination)


def fill_in(text: str, examination: Examination) -> str:
    """A remedy with the names of the account in it."""
    account = examination.account
    values = {
        "again": LOGIN if examination.is_user else "make a new key: " + NEW_KEY,
        "email": _service_account(examination),
        "target": account.impersonate_service_account or examination.email or "TARGET",
        "source": examination.source,
        "user": user_name(),
        "quota": examination.quota_project or "PROJECT",
    }
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _service_account(examination: Examination) -> str:
    """Whose keys are made: users have none."""
    email = examination.own_email or ""
    if email.endswith(".gserviceaccount.com"):
        return email
    return f"ACCOUNT@{examination.account.project}.iam.gserviceaccount.com"


def grant(examination: Examination, *roles: str) -> str:
    """The commands that give roles on the store."""
    account = examination.account
    return "; ".join(
        f"gcloud healthcare dicom-stores add-iam-policy-binding {account.dicom_store} "
        f"--dataset={account.dataset} --location={account.location} "
        f"--project={account.project} --member={examination.member} --role={role}"
        for role in roles
    )
