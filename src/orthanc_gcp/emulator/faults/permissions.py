"""Roles and permissions of datasets and DICOM stores (Healthcare API, "Access control")."""

from __future__ import annotations

__all__ = [
    "CONSUME",
    "IMPERSONATE",
    "KNOWN_PERMISSIONS",
    "PERMISSIONS",
    "ROLES",
    "STORAGE_PERMISSIONS",
]

_STORES = "healthcare.dicomStores."
_SEEING = frozenset({f"{_STORES}get", f"{_STORES}list"})

ROLES = {
    "roles/healthcare.dicomStoreViewer": _SEEING,
    "roles/healthcare.dicomStoreAdmin": _SEEING
    | {
        f"{_STORES}{name}"
        for name in (
            "create",
            "delete",
            "update",
            "deidentify",
            "getIamPolicy",
            "setIamPolicy",
            "dicomWebDelete",
        )
    },
    "roles/healthcare.dicomViewer": _SEEING
    | {f"{_STORES}{name}" for name in ("dicomWebRead", "export")},
    "roles/healthcare.dicomEditor": _SEEING
    | {
        f"{_STORES}{name}"
        for name in (
            "dicomWebRead",
            "dicomWebWrite",
            "dicomWebUpdate",
            "dicomWebDelete",
            "import",
            "export",
        )
    },
    # What it takes to poll operations comes with the roles of datasets only.
    "roles/healthcare.datasetViewer": frozenset(
        {
            "healthcare.datasets.get",
            "healthcare.datasets.list",
            "healthcare.operations.get",
            "healthcare.operations.list",
        }
    ),
    "roles/healthcare.datasetAdmin": frozenset(
        {
            "healthcare.datasets.create",
            "healthcare.datasets.deidentify",
            "healthcare.datasets.delete",
            "healthcare.datasets.get",
            "healthcare.datasets.getIamPolicy",
            "healthcare.datasets.list",
            "healthcare.datasets.setIamPolicy",
            "healthcare.datasets.update",
            "healthcare.operations.cancel",
            "healthcare.operations.get",
            "healthcare.operations.list",
        }
    ),
}
"""The permissions of each role that a policy can grant."""

PERMISSIONS = frozenset[str]().union(*ROLES.values())
"""Every permission that there is on datasets and stores."""

IMPERSONATE = "iam.serviceAccounts.getAccessToken"
CONSUME = "pubsub.subscriptions.consume"
_LOCATIONS = frozenset({"healthcare.locations.get", "healthcare.locations.list"})
STORAGE_PERMISSIONS = frozenset(
    f"storage.{name}"
    for name in (
        *("buckets.create", "buckets.delete", "buckets.get", "buckets.list"),
        *("objects.create", "objects.delete", "objects.get", "objects.list", "objects.update"),
    )
)
"""Those of Cloud Storage, which the service agent needs too."""
KNOWN_PERMISSIONS = PERMISSIONS | _LOCATIONS | STORAGE_PERMISSIONS | {IMPERSONATE, CONSUME}
