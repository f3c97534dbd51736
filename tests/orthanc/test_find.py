"""What a real Orthanc has that matches, with attributes that it does not give by itself."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.find import find
from orthanc_gcp.orthanc.modalities import modality_of, store_at
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.emulator.client import make_dicom
from tests.orthanc.orthanc_stub import stub
from tests.support.orthanc import free_port

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
BODY_PART, NAME = "00180015", "00100010"


def made(number):
    return make_dicom(
        PatientID="4711",
        PatientName="Doe^Jane",
        StudyInstanceUID="1.2",
        SeriesInstanceUID=f"1.2.{number % 2}",
        SOPInstanceUID=f"1.2.{number % 2}.{number}",
        BodyPartExamined="CHEST",
    )


def test_each_level_and_what_is_sent(orthanc):
    known = {"nobody": ["NOBODY", "127.0.0.1", free_port()]}
    running = orthanc({"DicomModalities": known}, plugins=())
    for number in range(4):
        running.json("POST", "/instances", made(number))
    rest = OrthancRest(running.url)

    def found(level, query, *wanted, most=10):
        return [one.attributes for one in find(rest, level, query, wanted, most=most)]

    (one,) = found("Patient", {NAME: "doe*"}, BODY_PART)
    assert (one["00100020"], one[BODY_PART]) == ("4711", "CHEST")
    (one,) = found("Study", {STUDY: "1.2\\1.3"}, BODY_PART, "00280010")
    assert one[BODY_PART] == "CHEST"
    every = found("Series", {NAME: "DOE^jane"}, STUDY, NAME)
    assert sorted(one[SERIES] for one in every) == ["1.2.0", "1.2.1"]
    assert {(one[STUDY], one[NAME]) for one in every} == {("1.2", "Doe^Jane")}
    every = found("Instance", {SERIES: "1.2.1"}, STUDY, SERIES, INSTANCE)
    assert sorted(one[INSTANCE] for one in every) == ["1.2.1.1", "1.2.1.3"]
    assert {(one[STUDY], one[SERIES]) for one in every} == {("1.2", "1.2.1")}
    assert len(found("Instance", {}, most=3)) == 3
    assert found("Study", {"00100020": "X"}) == []

    assert modality_of(rest, "SOMEBODY", str.strip) is None
    name, entry = modality_of(rest, "NOBODY ", str.strip)
    assert (name, entry["Host"]) == ("nobody", "127.0.0.1")
    instances = [one.orthanc_id for one in find(rest, "Instance", {}, most=10)]
    with pytest.raises(OrthancRefusedError, match="has not sent all"):
        store_at(rest, name, instances, ("WORKSTATION", 7), 20)
    running.kill()


def test_what_is_deleted_meanwhile():
    entries = [{"ID": "i", "Type": "Series", "MainDicomTags": {}, "Instances": ["x"]}, "nonsense"]
    with stub({"POST /tools/find": entries, "GET /instances/x": []}) as server:
        (one,) = find(OrthancRest(server.url), "Series", {}, [STUDY], most=1)
    assert (one.orthanc_id, one.attributes) == ("i", {})
