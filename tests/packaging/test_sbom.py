"""The bill of materials of what is shipped."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from artefacts.folder import EXTRAS, Folder
from artefacts.libraries import NOT_SHIPPED
from artefacts.requirements import runtime_pins
from artefacts.sbom import bill_of_materials, write
from artefacts.source import ROOT, Source
from artefacts.targets import LINUX
from tests.support.debian_package import copy_metadata

DIGEST = "ab" * 32
PINS = {
    pin.name: pin.version
    for pin in runtime_pins(ROOT, EXTRAS, LINUX, [(3, 11)])
    if pin.name not in NOT_SHIPPED
}


@pytest.fixture
def folder(tmp_path) -> Folder:
    copy_metadata([*PINS, "orthanc-gcp"], tmp_path / "lib")
    return Folder(tmp_path, {"urllib3": [DIGEST]})


def test_it_is_one_by_the_schema(folder, tmp_path):
    file = write(folder, Source(), tmp_path / "bill.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    broken = file.read_text().replace('"bomFormat"', '"bomFormt"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_every_package_of_the_lock_is_in_it_and_no_other(folder):
    components = bill_of_materials(folder, Source())["components"]
    assert {one["name"]: one["version"] for one in components} == PINS
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in components)
    assert all(one["licenses"][0]["expression"] for one in components)
    (urllib3,) = [one for one in components if one["name"] == "urllib3"]
    assert urllib3["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]


def test_what_is_linked_into_compiled_modules_is_in_it(folder):
    components = bill_of_materials(folder, Source())["components"]
    parts = {
        one["name"]: {part["name"] for part in one.get("components", [])} for one in components
    }
    assert "openssl" in {name.lower() for name in parts["cryptography"]}
    assert parts["psycopg-binary"]
    assert not parts["urllib3"]


def test_the_same_folder_has_the_same_bill(folder, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one, other = (bill_of_materials(folder, Source()) for _ in range(2))
    assert json.dumps(one) == json.dumps(other)
    assert one["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert one["serialNumber"].startswith("urn:uuid:")
    folder.hashes["urllib3"] = ["cd" * 32]
    assert bill_of_materials(folder, Source())["serialNumber"] != one["serialNumber"]
