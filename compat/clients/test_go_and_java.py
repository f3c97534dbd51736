"""Google's libraries for Go and Java, as Debian has them: credentials, and the API in Go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compat.clients.environments import run_program
from orthanc_gcp.emulator.pytest_plugin import DicomStore
from tests.emulator.client import path_of, read, sample

ACCOUNT = "orthanc@osimis-test.iam.gserviceaccount.com"
EMPTY = 204
OK = 200


@pytest.fixture
def wanted(dicom_store: DicomStore, tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "image.dcm"
    file.write_bytes(sample("CT_small.dcm"))
    return {
        "url": f"{dicom_store.emulator.url}/",
        "dicomweb": dicom_store.dicomweb_url,
        "parent": str(dicom_store.name),
        "file": str(file),
        "instance": path_of(read(file.read_bytes())).removeprefix("/"),
    }


def credentials(dicom_store: DicomStore, name: str, **more: str) -> dict[str, object]:
    """Return what makes a library find a credential file, in which more may stand."""
    file = dicom_store.credentials_file.with_name(name)
    if more:
        changed = {**json.loads(file.read_text()), **more}
        file = dicom_store.credentials_file.with_name(f"changed-{name}")
        file.write_text(json.dumps(changed))
    return {"GOOGLE_APPLICATION_CREDENTIALS": file}


def machine(dicom_store: DicomStore) -> dict[str, object]:
    return {"GCE_METADATA_HOST": dicom_store.emulator.metadata_host, "HOME": "/nonexistent"}


def expect_round_trip(facts: dict[str, Any], dicom_store: DicomStore) -> None:
    assert (facts["stored"], facts["found"], facts["same"]) == (OK, OK, True)
    assert facts["name"] == str(dicom_store.name)


def test_go_on_a_machine(dicom_store, wanted, tmp_path):
    asked = {**wanted, "metadata": True}
    facts = run_program("healthcare_client.go", asked, tmp_path, machine(dicom_store))
    expect_round_trip(facts, dicom_store)
    assert facts["available"] is True
    assert (facts["project"], facts["email"]) == ("osimis-test", ACCOUNT)
    assert facts["zone"] == "europe-west2-a"


def test_go_with_a_service_account(dicom_store, wanted, tmp_path):
    variables = credentials(dicom_store, "service-account.json")
    facts = run_program("healthcare_client.go", wanted, tmp_path, variables)
    expect_round_trip(facts, dicom_store)


def test_go_takes_the_token_endpoint_from_a_file_of_a_user(dicom_store, wanted, tmp_path):
    uri = dicom_store.emulator.token_uri
    variables = credentials(dicom_store, "authorized-user.json", token_uri=uri)
    facts = run_program("healthcare_client.go", wanted, tmp_path, variables)
    expect_round_trip(facts, dicom_store)


def test_java_on_a_machine(dicom_store, wanted, tmp_path):
    facts = run_program("Credentials.java", wanted, tmp_path, machine(dicom_store))
    assert facts == {"kind": "ComputeEngineCredentials", "status": EMPTY}


def test_java_with_a_service_account(dicom_store, wanted, tmp_path):
    variables = credentials(dicom_store, "service-account.json")
    facts = run_program("Credentials.java", wanted, tmp_path, variables)
    assert facts == {"kind": "ServiceAccountCredentials", "status": EMPTY}
