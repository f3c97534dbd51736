"""C-FIND over a store: all models and levels, character sets, limits, C-CANCEL."""

from __future__ import annotations

import pytest
from pydicom.uid import generate_uid

from tests.emulator.client import make_dicom
from tests.gateway.scu import (
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    associate,
    find,
    keys,
    run,
)

STUDY, SERIES = generate_uid(), generate_uid()


@pytest.fixture
def clinic(client):
    """Three patients; the second has a CT of two images and an MR in one study."""
    second = {"PatientID": "A2", "PatientName": "DOE^JANE", "StudyInstanceUID": STUDY}
    second |= {"StudyDescription": "CHEST", "StudyDate": "20260115"}
    client.store(
        make_dicom(PatientID="A1", PatientName="Doe^John", Modality="CT", StudyDate="20260101"),
        make_dicom(Modality="CT", SeriesInstanceUID=SERIES, InstanceNumber=1, **second),
        make_dicom(Modality="CT", SeriesInstanceUID=SERIES, InstanceNumber=2, **second),
        make_dicom(Modality="MR", **second),
        make_dicom(PatientID="B1", PatientName="Müller^Åsa", SpecificCharacterSet="ISO_IR 192"),
    )


def test_patients(start, clinic):
    wanted = keys("PATIENT", PatientID="A*", PatientName="", NumberOfPatientRelatedInstances="")
    found, status = find(start().port, wanted, PATIENT_ROOT)
    assert status.Status == 0
    assert {(one.PatientID, int(one.NumberOfPatientRelatedInstances)) for one in found} == {
        ("A1", 1),
        ("A2", 3),
    }


def test_a_long_list_of_studies(start, client):
    """In the order in which it asks for them, each once, whatever else the store has."""
    files = [make_dicom(StudyInstanceUID=f"1.2.{number}") for number in range(60)]
    client.store(*files)
    wanted = [f"1.2.{number}" for number in (*range(150, 20, -1), 25, 9)]
    values = {"StudyInstanceUID": "\\".join(wanted), "NumberOfStudyRelatedInstances": ""}
    found, status = find(start().port, keys("STUDY", **values))
    assert status.Status == 0
    assert [str(one.StudyInstanceUID) for one in found] == [
        *(f"1.2.{number}" for number in range(59, 20, -1)),
        "1.2.9",
    ]
    assert {one.NumberOfStudyRelatedInstances for one in found} == {1}


def test_a_study(start, clinic):
    wanted = keys(
        "STUDY",
        PatientName="doe^j*",
        ModalitiesInStudy="MR",
        StudyDescription="",
        NumberOfStudyRelatedSeries="",
        NumberOfStudyRelatedInstances="",
        InstanceAvailability="",
    )
    (found,), status = find(start().port, wanted)
    assert status.Status == 0
    assert found.StudyInstanceUID == STUDY
    assert sorted(found.ModalitiesInStudy) == ["CT", "MR"]
    assert (found.NumberOfStudyRelatedSeries, found.NumberOfStudyRelatedInstances) == (2, 3)
    assert found.StudyDescription == "CHEST"
    assert found.InstanceAvailability == "ONLINE"
    assert (found.RetrieveAETitle, found.QueryRetrieveLevel) == ("GOOGLE", "STUDY")
    assert found.SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.parametrize("model", [PATIENT_ROOT, STUDY_ROOT])
def test_series_and_images(start, clinic, model):
    port = start().port
    wanted = {"PatientID": "A2", "StudyInstanceUID": STUDY}
    found, _ = find(
        port, keys("SERIES", Modality="C?", NumberOfSeriesRelatedInstances="", **wanted), model
    )
    assert [one.SeriesInstanceUID for one in found] == [SERIES]
    assert found[0].NumberOfSeriesRelatedInstances == 2
    images = keys("IMAGE", SeriesInstanceUID=SERIES, InstanceNumber="2", **wanted)
    (image,), status = find(port, images, model)
    assert (status.Status, image.InstanceNumber) == (0, 2)
    assert image.SOPInstanceUID


@pytest.mark.parametrize(
    ("model", "level"),
    [
        (STUDY_ROOT, "PATIENT"),
        (PATIENT_STUDY_ONLY, "SERIES"),
        (STUDY_ROOT, ""),
        (PATIENT_ROOT, "study"),
    ],
)
def test_a_level_that_a_model_does_not_have(start, model, level):
    found, status = find(start().port, keys(level, PatientID=""), model)
    assert (found, status.Status) == ([], 0xA900)
    assert "Query/Retrieve Level" in status.ErrorComment


def test_a_key_that_nothing_is_known_of_is_passed_over(start, clinic):
    wanted = keys("STUDY", PatientID="A1", SeriesDescription="X", ManufacturerModelName="Y")
    association = associate(start().port)
    answers = list(association.send_c_find(wanted, STUDY_ROOT))
    association.release()
    assert [status.Status for status, _ in answers] == [0xFF01, 0]
    assert answers[0][1].ManufacturerModelName in ("", None)


def test_a_wrong_value_is_named_and_not_shown(start):
    found, status = find(start().port, keys("STUDY", StudyDate="Doe^Jane"))
    assert (found, status.Status) == ([], 0xA900)
    assert "StudyDate" in status.ErrorComment
    assert "Doe" not in status.ErrorComment


@pytest.mark.parametrize(
    ("asked", "name", "answered"),
    [
        ("", "Doe^John", "ISO_IR 100"),
        ("", "Müller^Åsa", "ISO_IR 192"),
        ("ISO_IR 100", "Müller^Åsa", "ISO_IR 100"),
        ("ISO_IR 127", "قباني^لنزار", "ISO_IR 127"),
        (["", "ISO 2022 IR 87"], "Yamada=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 149"], "Hong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        ("GB18030", "Wang=王^小东", "GB18030"),
        ("ISO_IR 100", "Wang=王^小东", "ISO_IR 192"),
        ("ISO_IR 192", "Wang=王^小东", "ISO_IR 192"),
    ],
)
def test_character_sets(start, client, asked, name, answered):
    client.store(make_dicom(PatientID="C", PatientName=name, SpecificCharacterSet="ISO_IR 192"))
    wanted = keys("STUDY", SpecificCharacterSet=asked, PatientName="")
    (found,), _ = find(start().port, wanted)
    assert found.SpecificCharacterSet == answered
    assert str(found.PatientName) == name


def test_a_name_in_another_character_set_than_the_request(start, client):
    name = "Yamada=山田^太郎"
    client.store(make_dicom(PatientName=name, SpecificCharacterSet="ISO_IR 192"))
    wanted = keys("STUDY", SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="*=山田*")
    (found,), _ = find(start().port, wanted)
    assert str(found.PatientName) == name


def test_more_matches_than_are_sent(start, clinic):
    found, status = find(start({"MaxAnswers": 2}).port, keys("STUDY", StudyInstanceUID=""))
    assert (len(found), status.Status) == (2, 0xB001)
    found, status = find(start({"MaxAnswers": 3}).port, keys("STUDY", StudyInstanceUID=""))
    assert (len(found), status.Status) == (3, 0)


def test_cancelled(start, client):
    client.store(*(make_dicom(PatientID=f"P{number}") for number in range(150)))
    association = associate(start().port)
    context = next(
        one for one in association.accepted_contexts if one.abstract_syntax == STUDY_ROOT
    )
    statuses = []
    for status, _ in association.send_c_find(
        keys("STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances=""), STUDY_ROOT, msg_id=7
    ):
        statuses.append(status.Status)
        if len(statuses) == 2:
            association.send_c_cancel(7, context.context_id)
    assert statuses[-1] == 0xFE00
    assert len(statuses) < 150
    # The association goes on, and what was cancelled is not what comes next.
    again = list(association.send_c_find(keys("STUDY", PatientID="P7"), STUDY_ROOT, msg_id=7))
    association.release()
    assert [status.Status for status, _ in again] == [0xFF00, 0]


def test_a_store_that_refuses(start, client, caplog):
    running = start()
    find(running.port, keys("STUDY", PatientID="SECRET-1"))
    client.request("DELETE", client.web.removesuffix("/dicomWeb"))
    found, status = find(running.port, keys("STUDY", PatientID="SECRET-1", PatientName="SECRET"))
    assert found == []
    assert status.Status == 0xC001
    assert status.ErrorComment.startswith("the store: ")
    assert "C-FIND of WORKSTATION" in caplog.text
    assert "SECRET" not in caplog.text


def test_findscu(start, clinic):
    code, said = run(
        *("findscu", start().port, "-P", "-k", "QueryRetrieveLevel=IMAGE", "-k", "PatientID=A2"),
        *("-k", f"StudyInstanceUID={STUDY}", "-k", f"SeriesInstanceUID={SERIES}"),
        *("-k", "SOPInstanceUID"),
    )
    assert code == 0
    assert said.count("(Pending)") == 2, said
