"""C-FIND at Orthanc: what both have, once; without the store, what Orthanc has."""

from __future__ import annotations

import time
from io import BytesIO

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword

from orthanc_gcp.gateway.for_orthanc import find
from orthanc_gcp.gateway.for_orthanc import merged as merged_stores
from orthanc_gcp.gateway.request import IdentifierError
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.gateway.for_orthanc.conftest import instance


def asked(level, **values):
    named = {"QueryRetrieveLevel": level, **values}
    return {f"{tag_for_keyword(name):08X}": value for name, value in named.items()}


def found(service, level, called="ORTHANC", **values):
    files = service.find(asked(level, **values), "WORKSTATION", called).identifiers
    return [pydicom.dcmread(BytesIO(file)) for file in files]


def is_whole(service, level, called="ORTHANC", **values):
    return service.find(asked(level, **values), "WORKSTATION", called).is_whole


def uids(answers, name="StudyInstanceUID"):
    return sorted(str(one[name].value) for one in answers)


def test_each_level(merged):
    service = merged()
    (patient,) = found(
        service,
        "PATIENT",
        PatientID="47*",
        NumberOfPatientRelatedStudies="",
        NumberOfPatientRelatedInstances="",
    )
    counts = (patient.NumberOfPatientRelatedStudies, patient.NumberOfPatientRelatedInstances)
    assert counts == (3, 6)

    wanted = {"StudyInstanceUID": "", "NumberOfStudyRelatedInstances": "", "ModalitiesInStudy": ""}
    studies = found(service, "STUDY", PatientName="doe*", **wanted)
    assert uids(studies) == ["1.2.1", "1.2.2", "1.2.3"]
    by_uid = {one.StudyInstanceUID: one for one in studies}
    assert [by_uid[f"1.2.{one}"].NumberOfStudyRelatedInstances for one in (1, 2, 3)] == [1, 2, 3]
    # The instance that both have counts as Orthanc has it.
    assert sorted(by_uid["1.2.3"].ModalitiesInStudy) == ["CT", "MR"]
    assert {one.RetrieveAETitle for one in studies} == {"ORTHANC"}

    series = found(
        service, "SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID="", ProtocolName=""
    )
    assert uids(series, "SeriesInstanceUID") == ["1.2.3.1", "1.2.3.2"]
    # What a store does not return of a series, Orthanc has.
    assert sorted(one.ProtocolName or "" for one in series) == ["", "of Orthanc"]

    images = found(service, "instance ", StudyInstanceUID="1.2.3", SOPInstanceUID="")
    assert uids(images, "SOPInstanceUID") == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.2.1"]


MATCHES = [
    ({"ModalitiesInStudy": "MR"}, ["1.2.3"]),
    ({"ModalitiesInStudy": "C?"}, ["1.2.1", "1.2.2", "1.2.3"]),
    ({"PatientName": "DOE^JOHN"}, ["1.2.1"]),
    ({"StudyInstanceUID": "1.2.1\\1.2.2\\1.2.9"}, ["1.2.1", "1.2.2"]),
    ({"StudyDate": "20190101-"}, ["1.2.1", "1.2.2", "1.2.3"]),
    ({"StudyDate": "-20190101"}, []),
    ({"PatientID": "4712"}, []),
    ({"AccessionNumber": "A?"}, ["1.2.1", "1.2.2", "1.2.3"]),
]


def test_matching(merged):
    service = merged()
    for values, expected in MATCHES:
        assert uids(found(service, "STUDY", **{"StudyInstanceUID": "", **values})) == expected


def test_what_is_no_query(merged):
    service = merged()
    for level, values in (("HOSPITAL", {}), ("STUDY", {"StudyDate": "soon"})):
        with pytest.raises(IdentifierError):
            found(service, level, **values)
    # What the standard does not know is passed over.
    query = {**asked("STUDY", StudyInstanceUID=""), "00091010": "x", "00080000": "4", "X": "y"}
    assert len(service.find(query, "W", "O").identifiers) == 3


def test_a_store_that_fails_or_is_slow(merged, faults, monkeypatch, caplog):
    service = merged()
    faults({"status": 503, "path": "/studies"})
    assert uids(found(service, "STUDY", StudyInstanceUID="")) == ["1.2.1", "1.2.3"]
    assert "only of what Orthanc holds: the store: " in caplog.text
    faults()

    faults({"delay": 1.0, "path": "/studies"})
    monkeypatch.setattr(find, "CLOUD_WITHIN", 0.1)
    monkeypatch.setattr(merged_stores, "SLOW", 0.01)
    wanted = {"StudyInstanceUID": "", "NumberOfStudyRelatedInstances": ""}
    assert uids(found(service, "STUDY", **wanted)) == ["1.2.1", "1.2.3"]
    assert "it did not answer in time" in caplog.text
    assert not is_whole(service, "STUDY", **wanted)
    monkeypatch.setattr(find, "CLOUD_WITHIN", 60.0)
    began = time.monotonic()
    assert len(found(service, "STUDY", StudyInstanceUID="")) == 2
    assert time.monotonic() - began < 30
    assert "it did not answer in time before" in caplog.text
    assert "Doe" not in caplog.text


def test_as_many_as_are_wanted(merged, caplog):
    service = merged({"MaxAnswers": 2})
    assert len(found(service, "STUDY", StudyInstanceUID="")) == 2
    assert "there are more" in caplog.text
    assert not is_whole(service, "STUDY", StudyInstanceUID="")
    assert is_whole(service, "STUDY", StudyInstanceUID="1.2.1\\1.2.2")


def test_an_ae_title_of_no_account(merged, caplog, monkeypatch):
    service = merged(DicomCheckCalledAet=True)
    assert len(found(service, "STUDY", called="ORTHANC", StudyInstanceUID="")) == 3
    monkeypatch.setattr(service.find, "_account_of", lambda _: None)
    assert len(found(service, "STUDY", StudyInstanceUID="")) == 2
    assert "no account has the AE title" in caplog.text
    assert is_whole(service, "STUDY", StudyInstanceUID=""), "it is all that is meant"


@pytest.mark.parametrize(("level", "uid"), [("PATIENT", "PatientID"), ("IMAGE", "SOPInstanceUID")])
def test_more_than_orthanc_finds(start, orthanc, level, uid):
    """It says so itself, with the status of what was cancelled."""
    limits = {"LimitFindResults": 2, "LimitFindInstances": 2}
    limited = orthanc(limits, plugins=())
    running = start({"AnswerForOrthanc": True}, OrthancRest(limited.url), **limits)
    service = running.gateway.for_orthanc
    for number in range(1, 5):
        file = instance(number, 1, 1, PatientID=f"p{number}")
        limited.json("POST", "/instances", file)
        assert is_whole(service, level, **{uid: "*"}) == (number <= 2)
    limited.kill()


def test_numbers_are_of_all_however_little_orthanc_finds_at_once(start, orthanc):
    """Workstations look by them whether they have received everything."""
    limits = {"LimitFindResults": 1, "LimitFindInstances": 1}
    limited = orthanc(limits, plugins=())
    for study in range(1, 4):
        for series in range(4):
            for number in range(2):
                file = instance(study, series, number, Modality=f"X{series}")
                limited.json("POST", "/instances", file)
    running = start({"AnswerForOrthanc": True}, OrthancRest(limited.url))
    wanted = {
        "StudyInstanceUID": "1.2.1",
        "NumberOfStudyRelatedSeries": "",
        "NumberOfStudyRelatedInstances": "",
        "ModalitiesInStudy": "",
    }
    for uid in "1.2.1", "1.2.2\\1.2.3":
        for one in found(
            running.gateway.for_orthanc, "STUDY", **{**wanted, "StudyInstanceUID": uid}
        ):
            assert (one.NumberOfStudyRelatedSeries, one.NumberOfStudyRelatedInstances) == (4, 8)
            assert sorted(one.ModalitiesInStudy) == ["X0", "X1", "X2", "X3"]
    patient = {"PatientID": "4711", "NumberOfPatientRelatedInstances": ""}
    (one,) = found(running.gateway.for_orthanc, "PATIENT", **patient)
    assert one.NumberOfPatientRelatedInstances == 24
    limited.kill()
