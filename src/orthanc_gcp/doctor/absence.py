"""A store that is not there: which part of its name does not exist, as far as Google says."""

from __future__ import annotations

import re

from orthanc_gcp.configuration import Account
from orthanc_gcp.errors import StoreError
from orthanc_gcp.reasons import ApiReason

__all__ = ["gcloud_name", "missing_part"]


def gcloud_name(account: Account) -> str:
    """The store, as the arguments of ``gcloud healthcare dicom-stores`` name it."""
    return (
        f"{account.dicom_store} --dataset={account.dataset} --location={account.location} "
        f"--project={account.project}"
    )


def missing_part(refusal: StoreError, account: Account) -> tuple[str, str] | None:
    """Cause and remedy where Google says that something is not there; None where it does not."""
    if refusal.reason == ApiReason.CONSUMER_INVALID or "resource project" in str(refusal):
        return (
            f"there is no project {account.project} ({refusal})",
            "correct Project, it is the project's ID, not its title: gcloud projects list",
        )
    if refusal.status == 400 and "location id invalid" in str(refusal).lower():
        return _location(refusal, account)
    if refusal.status != 404 or refusal.reason == ApiReason.NOT_GOOGLE:
        return None
    return _PARTS[_missing(str(refusal))](refusal, account)


def _missing(message: str) -> str:
    """The part that a message like ``dataset not found: projects/…/datasets/…`` speaks of."""
    subject, _, path = message.lower().partition("not found")
    subject = subject.rpartition(": ")[2]
    collections = re.findall(r"(locations|datasets|dicomstores)/", path)
    last = collections[-1] if collections else "dicomstores"
    if "location" in subject or last == "locations":
        return "location"
    if "dataset" in subject or last == "datasets":
        return "dataset"
    return "store"


def _location(refusal: StoreError, account: Account) -> tuple[str, str]:
    remedy = f"correct Location: gcloud healthcare locations list --project={account.project}"
    return f"there is no location {account.location} ({refusal})", remedy


def _dataset(refusal: StoreError, account: Account) -> tuple[str, str]:
    cause = (
        f"there is no dataset {account.dataset} in {account.location} in project "
        f"{account.project} ({refusal})"
    )
    remedy = (
        "correct Project, Location and Dataset, or create it: gcloud healthcare datasets create "
        f"{account.dataset} --location={account.location} --project={account.project}"
    )
    return cause, remedy


def _store(_: StoreError, account: Account) -> tuple[str, str]:
    cause = (
        f"there is no DICOM store {account.dicom_store} in dataset {account.dataset} of "
        f"{account.location} in project {account.project}"
    )
    remedy = (
        "correct Project, Location, Dataset and DicomStore, or create it: gcloud healthcare "
        f"dicom-stores create {gcloud_name(account)}"
    )
    return cause, remedy


_PARTS = {"location": _location, "dataset": _dataset, "store": _store}
