"""``orthanc-gcp query`` against a store: to the end, in each form, or with why not."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.emulator.client import Client, make_dicom
from tests.emulator.conftest import clock, credentials, emulator, identities, own_client
from tests.support.terminal import invoke

__all__ = ["clock", "credentials", "emulator", "identities", "own_client"]

EVIL = "=HYPERLINK(1)"


@pytest.fixture
def config(tmp_path: Path, own_client: Client, credentials: Path, emulator) -> Path:
    """A configuration for the store of a client."""
    path = own_client.web.partition("/v1/")[2].removesuffix("/dicomWeb").split("/")
    account = {
        **dict(zip(("Project", "Location", "Dataset", "DicomStore"), path[1::2], strict=True)),
        "ServiceAccountFile": str(credentials / "service-account.json"),
    }
    section = {"BaseUrl": f"{emulator.url}/v1/", "Accounts": {"google": account}}
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps({"GoogleCloudPlatform": section}))
    return file


@pytest.fixture
def patients(own_client: Client) -> None:
    own_client.store(
        make_dicom(PatientID="A1", PatientName="Doe^John", StudyDate="20260101", Modality="CT"),
        make_dicom(PatientID="A2", PatientName=EVIL, StudyDate="20260102", Modality="MR"),
        make_dicom(
            PatientID="-3",
            PatientName="山田^太郎",
            StudyDate="20260103",
            SpecificCharacterSet="ISO_IR 192",
        ),
    )


def test_a_table(config, patients):
    done = invoke("query", config, "google", "PatientID=A*")
    header, first, second = done.stdout.splitlines()
    assert header.split()[:3] == ["PatientID", "PatientName", "StudyDate"]
    assert {first.split()[0], second.split()[0]} == {"A1", "A2"}
    assert done.stderr == "2 results\n"


def test_columns_of_a_table_are_aligned(config, patients):
    done = invoke("query", config, "google", "--field", "PatientName", "--field", "PatientID")
    lines = sorted(done.stdout.splitlines())
    assert "山田^太郎      -3" in lines
    assert "Doe^John       A1" in lines


def test_json_is_the_model_of_dicom(config, patients):
    found = json.loads(invoke("query", config, "google", "StudyDate=20260102-", "--json").stdout)
    assert {one["00100020"]["Value"][0] for one in found} == {"A2", "-3"}
    assert json.loads(invoke("query", config, "google", "PatientID=none", "--json").stdout) == []


def test_csv_holds_no_formulas(config, patients):
    options = ("--level", "instance", "--csv", "--field", "PatientID", "--field", "PatientName")
    done = invoke("query", config, "google", *options)
    header, *rows = csv.reader(io.StringIO(done.stdout))
    assert header == ["PatientID", "PatientName"]
    assert dict(rows) == {"A1": "Doe^John", "A2": f"'{EVIL}", "-3": "山田^太郎"}
    assert invoke("query", config, "google", "PatientID=x", "--csv").stdout.startswith("PatientID,")


def test_uids_may_have_commas_between(config, own_client):
    uids = ["1.2.826.1", "1.2.826.2", "1.2.826.3"]
    own_client.store(*(make_dicom(StudyInstanceUID=uid) for uid in uids))
    asked = f"StudyInstanceUID={','.join(uids[:2])}"
    found = json.loads(invoke("query", config, "google", asked, "--json").stdout)
    assert sorted(one["0020000D"]["Value"][0] for one in found) == uids[:2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "there is no account nobody: expected one of google"),
        (["google", "PatientID"], "expected KEY=VALUE, such as PatientID=123"),
        (["google", "Patient=1"], "Patient is no DICOM keyword, and no tag such as 0010,0020"),
        (["google", "StudyDate=soon"], "StudyDate: expected a date, 20260131, or a range"),
        (["google", "--json", "--csv"], "expected one of --json and --csv"),
        (["google", "--field", "Name"], "Name is no DICOM keyword"),
    ],
)
def test_what_cannot_be_asked(config, arguments, words):
    said = invoke("query", config, *arguments, code=2).output
    assert said.startswith(words)
    assert len(said.splitlines()) == 1
    assert "soon" not in said


def test_what_a_store_does_not_return_is_said(config, patients):
    said = invoke("query", config, "google", "PatientComments=x", code=2).stderr
    assert said.startswith(
        "nothing is known of PatientComments: the store has returned it for none of 3 "
    )
    options = ("--level", "instance", "PatientComments=x")
    assert invoke("query", config, "google", *options).stderr == "0 results\n"


def test_an_answer_that_is_not_all_is_no_answer(config, patients, emulator):
    emulator.fault_settings.change(faults=[{"path": "/studies", "status": 503}])
    done = invoke("query", config, "google", "--json", code=2)
    assert done.stdout == ""
    assert "answered 503" in done.stderr
    emulator.fault_settings.change(faults=[{"path": "/studies", "status": 503, "skip": 1}])
    done = invoke("query", config, "google", "PatientID=A1\\A2", "--json", code=2)
    assert done.stderr.startswith("what was found is not all: searching")
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(done.stdout)


def test_a_missing_credential_is_said_at_once(config, credentials, tmp_path):
    (credentials / "service-account.json").unlink()
    said = invoke("query", config, "google", code=2).output
    assert said.startswith("no access token: ServiceAccountFile")
    assert len(said.splitlines()) == 1
