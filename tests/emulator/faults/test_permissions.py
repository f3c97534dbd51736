"""Roles and permissions, against the methods that take them."""

from __future__ import annotations

from orthanc_gcp.emulator.api_methods import DATASET_METHODS, LOCATION_METHODS, NO_PERMISSION
from orthanc_gcp.emulator.faults.permissions import (
    IMPERSONATE,
    KNOWN_PERMISSIONS,
    PERMISSIONS,
    ROLES,
)


def test_every_method_takes_a_permission_that_is_known() -> None:
    taken = {method.permission for method in (*DATASET_METHODS, *LOCATION_METHODS)}
    assert taken - {NO_PERMISSION} <= KNOWN_PERMISSIONS


def test_what_the_roles_grant() -> None:
    editor, viewer = (ROLES[f"roles/healthcare.dicom{name}"] for name in ("Editor", "Viewer"))
    assert viewer < editor | {"healthcare.dicomStores.export"}
    assert "healthcare.dicomStores.dicomWebWrite" in editor - viewer
    assert "healthcare.operations.get" not in editor
    assert IMPERSONATE not in PERMISSIONS
    assert all(permissions <= PERMISSIONS for permissions in ROLES.values())
