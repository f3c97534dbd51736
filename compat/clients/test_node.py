"""Google's own libraries for Node: credentials of every kind, and the API."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydicom.dataset import Dataset

from compat.clients.environments import run_program
from tests.emulator.client import path_of, read, sample

EMPTY = 204


@pytest.fixture
def wanted(dicom_store) -> dict[str, Any]:
    return {"dicomweb": dicom_store.dicomweb_url, "token": dicom_store.token()}


def test_the_metadata_server(dicom_store, wanted, tmp_path):
    host = dicom_store.emulator.metadata_host
    environment = {"GCE_METADATA_HOST": host, "HOME": tmp_path}
    facts = run_program("google_auth.mjs", {**wanted, "metadata": True}, tmp_path, environment)
    assert (facts["kind"], facts["status"]) == ("Compute", EMPTY)
    assert facts["available"] is True
    assert (facts["project"], facts["universe"]) == ("osimis-test", "googleapis.com")
    assert facts["email"] == "orthanc@osimis-test.iam.gserviceaccount.com"
    assert facts["whole"]["serviceAccounts"]["default"]["email"] == facts["email"]
    assert facts["idToken"].count(".") == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("external-account-file", "IdentityPoolClient"),
        ("external-account-url", "IdentityPoolClient"),
        ("external-account-executable", "PluggableAuthClient"),
        ("external-account-impersonated", "IdentityPoolClient"),
        ("external-account-aws", "AwsClient"),
        ("external-account-authorized-user", "ExternalAccountAuthorizedUserClient"),
    ],
)
def test_files_that_name_their_token_endpoint(dicom_store, wanted, tmp_path, name, kind):
    folder = dicom_store.credentials_file.parent
    environment = {
        "GOOGLE_APPLICATION_CREDENTIALS": folder / f"{name}.json",
        "GOOGLE_CLOUD_PROJECT": "osimis-test",
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1",
    }
    facts = run_program("google_auth.mjs", wanted, tmp_path, environment)
    assert (facts["kind"], facts["status"]) == (kind, EMPTY)


def test_a_service_account_signs_its_own_token(dicom_store, wanted, tmp_path):
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": dicom_store.credentials_file}
    facts = run_program("google_auth.mjs", {**wanted, "selfSigned": True}, tmp_path, environment)
    assert (facts["kind"], facts["status"]) == ("JWT", EMPTY)


def test_a_user(dicom_store, wanted, tmp_path):
    file = dicom_store.credentials_file.parent / "authorized-user.json"
    more = {"user": str(file), "tokenUri": dicom_store.emulator.token_uri}
    facts = run_program("google_auth.mjs", {**wanted, **more}, tmp_path)
    assert (facts["kind"], facts["status"]) == ("UserRefreshClient", EMPTY)


def test_the_api(dicom_store, wanted, tmp_path):
    content = sample("CT_small.dcm")
    file = tmp_path / "image.dcm"
    file.write_bytes(content)
    dataset = read(content)
    instance = path_of(dataset).removeprefix("/")
    location, _, _ = str(dicom_store.name).partition("/datasets/")
    facts = run_program(
        "healthcare_api.mjs",
        {
            **wanted,
            "url": dicom_store.emulator.url,
            "location": location,
            "dataset": f"{location}/datasets/test",
            "file": str(file),
            "instance": instance,
            "study": f"studies/{dataset.StudyInstanceUID}",
        },
        tmp_path,
    )
    assert facts["datasets"] == [{"name": f"{location}/datasets/test"}]
    assert facts["store"]["labels"] == {"by": "node"}
    assert (facts["stored"], facts["same"]) == (200, True)
    (study,) = facts["studies"]
    assert Dataset.from_json(study).PatientID == dataset.PatientID
    (metadata,) = facts["metadata"]
    assert metadata["00080018"]["Value"] == [dataset.SOPInstanceUID]
    assert dataset.PixelData in base64.b64decode(facts["frame"])
    assert facts["metrics"]["instanceCount"] == "1"
    assert facts["operation"]["done"] is True
    assert (facts["left"], facts["gone"]) == (EMPTY, 404)
