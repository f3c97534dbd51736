"""What an identity may do beyond its store, as the emulator and others say it."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.doctor.account import DELETE, READ, WRITE
from orthanc_gcp.doctor.healthcare_api import Store
from orthanc_gcp.doctor.least_privilege import Excess, excess_of
from orthanc_gcp.errors import StoreError
from orthanc_gcp.transport.authorization import Authorization
from tests.support.checking import check
from tests.support.emulator import STORE_PATH
from tests.support.raw_server import answer, read_body

DATASET_PATH = STORE_PATH.rpartition("/dicomStores/")[0]
EDITOR = {
    "role": "roles/healthcare.dicomEditor",
    "members": ["serviceAccount:orthanc@osimis-test.iam.gserviceaccount.com"],
}
NOBODY = {"role": "roles/healthcare.dicomEditor", "members": ["user:other@x.y"]}


@pytest.fixture
def policies(case):
    """Sets who has which role on the dataset and on the store, for the time of a test."""

    def set_policies(of_dataset, of_store) -> None:
        for path, bindings in ((DATASET_PATH, of_dataset), (STORE_PATH, of_store)):
            case.google.call("POST", f"{path}:setIamPolicy", {"policy": {"bindings": bindings}})

    yield set_policies
    set_policies([], [])


def line(case) -> tuple[str, str, str]:
    _, report = check(case)
    found = {each["Check"]: each for each in report["Accounts"]["my-google"]}["least privilege"]
    return found["Result"], found["Cause"], found.get("Remedy") or ""


def test_everything_is_said(case):
    """The emulator lets everybody do everything until a policy is set."""
    result, cause, remedy = line(case)
    assert result == "warning"
    assert "on the store: healthcare.dicomStores.deidentify, healthcare.dicomStores.delete" in cause
    assert "dicomStores.update; on everything in its dataset: " in cause
    assert READ in cause
    assert "healthcare.datasets.delete" in cause
    assert cause.endswith("on datasets of the whole project: it may list them")
    assert "--role=roles/healthcare.dicomEditor" in remedy
    assert "take its roles on the dataset and the project away" in remedy


def test_a_role_on_the_store_alone_is_not_too_much(case, policies):
    policies([NOBODY], [EDITOR])
    case.google.switch(deniedPermissions=["healthcare.datasets.list"])
    assert line(case)[:2] == (
        "passed",
        "it may read, write and delete in the store, and is not seen to have more",
    )


def test_a_role_on_the_dataset_is(case, policies):
    policies([EDITOR], [EDITOR])
    case.google.switch(deniedPermissions=["healthcare.datasets.list"])
    result, cause, _ = line(case)
    assert result == "warning"
    assert cause.endswith(f"on everything in its dataset: {DELETE}, {READ}, {WRITE}")


@pytest.fixture
def store(examination, serve):
    """Makes a store of a Google that grants so much, and knows only some permissions."""

    def make(granted=(), known=("healthcare.",), datasets="403 Forbidden", first="200 OK"):
        def behave(connection, head):
            wanted = b""
            if head.startswith(b"POST"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                while len(wanted) < length:
                    wanted += connection.recv(length - len(wanted))
            else:
                read_body(connection, head)
            status, body = first, {"datasets": []}
            if not wanted:
                status = datasets
            elif b"dicomStores/" not in head.split(b"\r\n")[0]:
                status = "200 OK"
            if wanted:
                names = json.loads(wanted)["permissions"]
                body = {"permissions": [name for name in names if name in granted]}
                if not all(name.startswith(known) for name in names):
                    status, body = "400 Bad Request", {"error": {"status": "INVALID_ARGUMENT"}}
            connection.sendall(answer(json.dumps(body).encode(), status, kind="application/json"))

        about = examination(section={"BaseUrl": f"http://127.0.0.1:{serve(behave).port}/v1"})
        return Store(about.account, about.settings, about.transport, Authorization("ya29.x"))

    return make


def test_other_kinds_of_stores_count(store):
    granted = ("healthcare.fhirResources.get", "healthcare.hl7V2Messages.get")
    found = excess_of(store(granted))
    assert found == Excess(of_dataset=granted)
    assert found


def test_a_permission_that_google_does_not_know_hides_no_other(store):
    known = ("healthcare.dicomStores.", "healthcare.datasets.", "healthcare.consent")
    granted = (READ, "healthcare.datasets.delete", "healthcare.consents.get")
    assert excess_of(store(granted, known)).of_dataset == granted


def test_the_project(store):
    found = excess_of(store(datasets="200 OK"))
    assert found == Excess(in_project=True)
    assert found.words == "on datasets of the whole project: it may list them"
    assert not excess_of(store(datasets="404 Not Found"))


def test_a_store_that_does_not_say_is_an_error(store):
    with pytest.raises(StoreError):
        excess_of(store(known=("nothing",)))
