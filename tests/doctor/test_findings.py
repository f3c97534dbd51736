"""What a check found, as a program and as a person reads it."""

from __future__ import annotations

import os
import subprocess
import sys

from orthanc_gcp.doctor.findings import Finding, Result
from tests.support.keys import write


def test_a_finding_for_a_program():
    finding = Finding("token", Result.FAILED, "the key was deleted", "make a new one")
    assert finding.as_json() == {
        "Check": "token",
        "Result": "failed",
        "Cause": "the key was deleted",
        "Remedy": "make a new one",
    }
    assert Finding("DNS", Result.PASSED, "it is 127.0.0.1").as_json()["Remedy"] == ""


def test_every_result_has_a_word():
    assert [result.value for result in Result] == [
        *("passed", "warning", "failed", "skipped", "unknown")
    ]


def test_the_table_for_people(case):
    case.account["DicomStore"] = "no-such-store"
    section = {**case.section, "Accounts": {"my-google": case.account}}
    write(case.folder / "orthanc.json", {"GoogleCloudPlatform": section})
    done = subprocess.run(
        [sys.executable, "-m", "orthanc_gcp", "check", str(case.folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 1
    assert "account my-google" in done.stdout
    assert "there is no DICOM store no-such-store in dataset test" in done.stdout
    assert "remedy: correct Project, Location, Dataset and DicomStore" in done.stdout
