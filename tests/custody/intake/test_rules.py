"""What the rules of ``Send`` mean, by what a real Orthanc says of instances."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO

from orthanc_gcp.configuration import read
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc
from tests.support.site import make_instance

LONG = "x" * 300 + " urgent " + "y" * 300


def rules_of(*entries):
    accounts = {"google": {**STORE, "ServiceAccountFile": "key.json"}}
    section = {"Accounts": accounts, "Send": list(entries)}
    return read({"GoogleCloudPlatform": section})


def instance() -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(make_instance(modality="CT")))
    dataset.PatientID = "P-1"
    dataset.InstitutionName = "North [1]"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyDescription = "Müller"
    dataset.PatientComments = LONG
    dataset.SliceThickness = "1.50"
    dataset.BurnedInAnnotation = "NO"
    dataset.ReferencedFrameNumber = None
    dataset.add_new(0x00090010, "LO", "ACME")
    dataset.add_new(0x00091001, "LO", "private one")
    dataset.add_new(0x00091002, "LO", "private two")
    dataset.add_new(0x0032000A, "CS", "STARTED")  # retired: Orthanc names it otherwise
    dataset.add_new(0x60000010, "US", 5)
    dataset.ReferencedSOPInstanceUID = "1.2.345"  # padded by a NUL
    buffer = DicomBytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orthanc")
    with Orthanc(folder, {}, plugins=()) as orthanc:
        orthanc.request("POST", "/instances", instance())
        yield OrthancSource(OrthancRest(orthanc.url), Path(folder / "none"))


def matches(archive, **rule) -> bool:
    settings = rules_of({"To": "google", **rule})
    assert settings.problems == ()
    (identifiers,) = archive.instances()
    (description,) = archive.describe(identifiers)
    rules = Rules(settings.rules, archive.attributes)
    return bool(rules.matching(description))


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientID": "P-1"},
        {"0010,0020": "P-1"},
        {"00100020": "P-?"},
        {"(0010,0020)": "P*"},
        {"0010-0020": "P*"},
        {"InstitutionName": "North [1]"},
        {"InstitutionName": "*[1]"},
        {"InstitutionName": "North ???"},
        {"ImageType": "ORIGINAL\\*"},
        {"ImageType": "PRIMARY"},
        {"ImageType": "ORIGINAL\\PRIMARY\\AXIAL"},
        {"StudyDescription": "M?ller"},
        {"PatientComments": "* urgent *"},
        {"SliceThickness": "1.50"},
        {"0009,1001": "private one"},
        {"(0009,1002)": "private two"},
        {"StudyStatusID": "STARTED"},
        {"0032,000A": "STARTED"},
        {"0032000a": "STARTED"},
        {"6000,0010": "5"},
        {"ReferencedSOPInstanceUID": "1.2.345"},
        {"AccessionNumber": ""},
        {"AccessionNumber": "*"},
        {"PatientID": "P-1", "BurnedInAnnotation": "NO", "0009,1001": "*one"},
    ],
    ids=str,
)
def test_what_matches(archive, tags):
    assert matches(archive, Tags=tags)


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientID": "p-1"},
        {"PatientID": "P"},
        {"PatientID": "?"},
        {"InstitutionName": "North [0-9]"},
        {"InstitutionName": "North ?"},
        {"ImageType": "MARY"},
        {"PatientComments": ""},
        {"0009,1001": "private two"},
        {"0009,1003": "?*"},
        {"AccessionNumber": "?*"},
        {"PatientID": "P-1", "BurnedInAnnotation": "YES"},
    ],
    ids=str,
)
def test_what_does_not_match(archive, tags):
    assert not matches(archive, Tags=tags)


def test_modalities_and_titles(archive):
    assert matches(archive, Modalities=["MR", "C?"])
    assert not matches(archive, Modalities=["MR"])
    assert matches(archive, CalledAet=["*"]), "what came over REST has no title"
    assert not matches(archive, CalledAet=["ORTHANC"])


# -- Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"Tags": {"patientid": "x"}}, "in place of patientid; did you mean PatientID?"),
        ({"Tags": {"PatientId": "x"}}, "in place of PatientId; did you mean PatientID?"),
        ({"Tags": {"InstitutonName": "x"}}, "did you mean InstitutionName?"),
        ({"Tags": {"Smith^John": "PatientName"}}, "in place of name 1"),
        ({"Tags": {"PatientID": "x", "": "x"}}, "in place of name 2"),
        ({"Tags": {"0008,008": "x"}}, "such as 0008,0080"),
        ({"Tags": {"0008,008g": "x"}}, "such as 0008,0080"),
        ({"Tags": {"(0008,0080": "x"}}, "such as 0008,0080"),
        ({"Tags": {"0002,0010": "x"}}, "such as 0008,0080"),
        ({"Tags": {"TransferSyntaxUID": "x"}}, "such as 0008,0080"),
        ({"Tags": {"PixelData": "x"}}, "an attribute with text or a number"),
        ({"Tags": {"RequestAttributesSequence": "x"}}, "an attribute with text or a number"),
        ({"Tags": {"PatientID": 5}}, "an object of DICOM keywords and patterns"),
        ({"Tags": ["PatientID"]}, "an object of DICOM keywords and patterns"),
        ({"Tags": {"PatientID": " x"}}, "without blanks at its ends"),
        ({"Modalities": []}, "a list of strings, at least one"),
        ({"Modalities": "CT"}, "a list of strings, at least one"),
        ({"Modalities": [""]}, "none of them empty"),
        ({"Modalities": ["CT", ""]}, "none of them empty"),
        ({"Modalities": ["CT,MR"]}, 'each in a string of its own, such as ["CT", "MR"]'),
        ({"Modalities": ["CT\\MR"]}, 'each in a string of its own, such as ["CT", "MR"]'),
        ({"Modalities": ["ct"]}, "codes in capital letters"),
        ({"Modalities": ["[CM][TR]"]}, "codes in capital letters"),
        ({"Modalities": [" CT"]}, "no blank at its ends"),
        ({"Modalities": ["A" * 17]}, "at most 16 characters"),
        ({"CalledAet": ["ORTHANC\\X"]}, "application entity titles"),
        ({"RemoteAet": ["X" * 17]}, "at most 16 characters"),
        ({"RemoteAet": ["X "]}, "no blank at its ends"),
    ],
)
def test_a_rule_that_can_match_nothing_is_told(rule, message):
    settings = rules_of({"To": "google", **rule})
    (problem,) = settings.problems
    assert problem.error
    assert message in str(problem)
    assert "nothing is sent by it" in str(problem)
    assert "Smith" not in str(problem)
    assert settings.rules == ()
    assert settings.rule_problems == (problem,)
