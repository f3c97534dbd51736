"""Roles and permissions of datasets and DICOM stores (Healthcare API, "Access control")."""

from __future__ import annotations

__all__ = ["IMPERSONATE", "KNOWN_PERMISSIONS", "PERMISSIONS", "ROLES"]

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
_LOCATIONS = frozenset({"healthcare.locations.get", "healthcare.locations.list"})
KNOWN_PERMISSIONS = PERMISSIONS | _LOCATIONS | {IMPERSONATE}
