"""The same queries to Orthanc and to the gateway, over the same studies: the same matches."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword

from orthanc_gcp.orthanc.rest import OrthancRest
from tests.emulator.client import make_dicom
from tests.gateway.scu import PATIENT_ROOT, associate, keys
from tests.support.orthanc import Orthanc, free_port

NAMES = ("Doe^John", "DOE^JANE", "Roe^Richard^^Dr", "Doering^A")
FILES = [
    make_dicom(
        PatientID=f"P{patient}",
        PatientName=name,
        StudyInstanceUID=f"1.2.{patient}.{study}",
        SeriesInstanceUID=f"1.2.{patient}.{study}.{series}",
        SOPInstanceUID=f"1.2.{patient}.{study}.{series}.1",
        StudyDate=f"2026010{patient + study}",
        AccessionNumber=f"A{patient}{study}",
        StudyDescription="CHEST" if study else "HEAD",
        Modality="MR" if series else "CT",
        SeriesNumber=series + 1,
    )
    for patient, name in enumerate(NAMES)
    for study in range(2)
    for series in range(1 + patient % 2)
]
UNIQUE = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
OF_PATIENTS = {
    "PatientName": ["", "*", "Doe*", "doe^j*", "*^J???", "Doe^John", "D*n", "?oe*", "X"],
    "PatientID": ["", "P1", "P?", "*2", "P1\\P3", "X"],
}
OF_STUDIES = {
    "StudyDate": ["", "20260102", "20260102-", "-20260102", "20260102-20260103", "20250101"],
    "AccessionNumber": ["", "A1*", "A11"],
    "StudyDescription": ["", "CHEST", "H?AD", "*S*"],
    "StudyInstanceUID": ["", "1.2.1.0", "1.2.1.0\\1.2.2.1"],
}
OF_SERIES = {"Modality": ["", "CT", "M?", "CT\\MR"], "SeriesNumber": ["", "1"]}
BY_LEVEL = {
    "PATIENT": OF_PATIENTS,
    "STUDY": {**OF_PATIENTS, **OF_STUDIES, "ModalitiesInStudy": ["", "MR", "CT\\MR", "US"]},
    "SERIES": {**OF_PATIENTS, **OF_STUDIES, **OF_SERIES},
    "IMAGE": {**OF_PATIENTS, **OF_STUDIES, **OF_SERIES},
}
QUERIES = st.sampled_from(sorted(BY_LEVEL)).flatmap(
    lambda level: st.tuples(
        st.just(level),
        st.fixed_dictionaries(
            {}, optional={name: st.sampled_from(one) for name, one in BY_LEVEL[level].items()}
        ),
    )
)


@pytest.fixture
def both(start, client, tmp_path):
    """Associations with an Orthanc and with a gateway, before the same studies."""
    client.store(*FILES)
    port = free_port()
    options = {"DicomServerEnabled": True, "DicomPort": port, "DicomAlwaysAllowFind": True}
    with Orthanc(tmp_path / "orthanc", options, plugins=()) as orthanc:
        for file in FILES:
            urllib3.request("POST", f"{orthanc.url}/instances", body=file)
        running = start({"AnswerForOrthanc": True}, OrthancRest(orthanc.url))
        associations = associate(port, "ORTHANC"), associate(running.port)
        assert all(one.is_established for one in associations)
        yield *associations, running.gateway.for_orthanc
        for one in associations:
            one.release()


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(query=QUERIES)
def test_the_same_matches(both, query):
    level, values = query
    wanted = {UNIQUE[level]: "", **values}

    def found(association):
        answers = list(association.send_c_find(keys(level, **wanted), PATIENT_ROOT))
        assert answers[-1][0].Status == 0
        return sorted(str(one[UNIQUE[level]].value) for _, one in answers if one is not None)

    *associations, merged = both
    orthanc, gateway = map(found, associations)
    assert gateway == orthanc

    # Each once, where Orthanc and the store have the same.
    asked = {
        f"{tag_for_keyword(name):08X}": value
        for name, value in {"QueryRetrieveLevel": level, **wanted}.items()
    }
    answers = [
        pydicom.dcmread(BytesIO(one)) for one in merged.find(asked, "WS", "ORTHANC").identifiers
    ]
    assert sorted(str(one[UNIQUE[level]].value) for one in answers) == orthanc
