"""What Google says of a store that is not there, and which part of its name it is about."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.doctor.absence import gcloud_name, missing_part
from orthanc_gcp.errors import StoreError
from tests.support.keys import STORE

ACCOUNT = read(
    {"GoogleCloudPlatform": {"Accounts": {"a": {**STORE, "ServiceAccountFile": "k"}}}}
).accounts[0]
PATH = "projects/osimis-test/locations/europe-west2"


@pytest.mark.parametrize(
    ("message", "cause", "command"),
    [
        (
            f"Google answered 404: location not found: {PATH}",
            "there is no location europe-west2",
            "gcloud healthcare locations list --project=osimis-test",
        ),
        (
            f"Google answered 404: Location {PATH} is not found or access is unauthorized",
            "there is no location europe-west2",
            "gcloud healthcare locations list",
        ),
        (
            f"Google answered 404: dataset not found: {PATH}/datasets/test",
            "there is no dataset test in europe-west2 in project osimis-test",
            "gcloud healthcare datasets create test --location=europe-west2",
        ),
        (
            f"Google answered 404: not found: {PATH}/datasets/test",
            "there is no dataset test",
            "gcloud healthcare datasets create",
        ),
        (
            f"Google answered 404: DICOM store not found: {PATH}/datasets/test/dicomStores/dicom",
            "there is no DICOM store dicom in dataset test of europe-west2",
            "gcloud healthcare dicom-stores create dicom --dataset=test --location=europe-west2 "
            "--project=osimis-test",
        ),
        ("Google answered 404: whatever", "there is no DICOM store dicom", "dicom-stores create"),
    ],
)
def test_the_part_that_is_missing(message, cause, command):
    found = missing_part(StoreError(message, reason="NOT_FOUND", status=404), ACCOUNT)
    assert found is not None
    assert found[0].startswith(cause)
    assert command in found[1]


def test_a_location_that_is_none():
    message = "Google answered 400: location ID invalid: 'europe-west2'"
    found = missing_part(StoreError(message, reason="INVALID_ARGUMENT", status=400), ACCOUNT)
    assert found is not None
    assert found[0].startswith("there is no location europe-west2 (")
    assert "gcloud healthcare locations list" in found[1]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Google answered 400: Permission denied on resource project x", "PERMISSION_DENIED"),
        ("Google answered 403: x", "CONSUMER_INVALID"),
    ],
)
def test_a_project_that_does_not_exist(message, reason):
    found = missing_part(StoreError(message, reason=reason, status=403), ACCOUNT)
    assert found is not None
    assert found[0].startswith("there is no project osimis-test (Google answered 40")
    assert "gcloud projects list" in found[1]


@pytest.mark.parametrize(
    ("reason", "status"), [("not_google", 404), ("PERMISSION_DENIED", 403), ("http_503", 503)]
)
def test_what_does_not_say_that_something_is_missing(reason, status):
    assert missing_part(StoreError("not found", reason=reason, status=status), ACCOUNT) is None


def test_the_store_as_gcloud_is_given_it():
    assert gcloud_name(ACCOUNT) == (
        "dicom --dataset=test --location=europe-west2 --project=osimis-test"
    )
