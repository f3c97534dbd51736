"""Workstations: pynetdicom as a service class user, and DCMTK's programs."""

from __future__ import annotations

import subprocess
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    PatientStudyOnlyQueryRetrieveInformationModelFind,
    PatientStudyOnlyQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

PATIENT_ROOT = PatientRootQueryRetrieveInformationModelFind
STUDY_ROOT = StudyRootQueryRetrieveInformationModelFind
PATIENT_STUDY_ONLY = PatientStudyOnlyQueryRetrieveInformationModelFind
MOVE = {
    PATIENT_ROOT: PatientRootQueryRetrieveInformationModelMove,
    STUDY_ROOT: StudyRootQueryRetrieveInformationModelMove,
    PATIENT_STUDY_ONLY: PatientStudyOnlyQueryRetrieveInformationModelMove,
}


def keys(level: str, **values: Any) -> Dataset:
    """An identifier, whatever its values are."""
    dataset = Dataset()
    for name, value in {"QueryRetrieveLevel": level, **values}.items():
        tag = tag_for_keyword(name)
        assert tag is not None, name
        representation = dictionary_VR(name).partition(" ")[0]
        dataset.add(DataElement(tag, representation, value, validation_mode=config.IGNORE))
    return dataset


def associate(
    port: int, called: str = "GOOGLE", calling: str = "WORKSTATION", **options: Any
) -> Association:
    """An association with what listens there, whether it was accepted or not."""
    entity = ApplicationEntity(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 90
    for service in (Verification, PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY, *MOVE.values()):
        entity.add_requested_context(service)
    return entity.associate("127.0.0.1", port, ae_title=called, **options)


def find(
    port: int, identifier: Dataset, model: str = STUDY_ROOT, called: str = "GOOGLE"
) -> tuple[list[Dataset], Dataset]:
    """The matches, and the last status."""
    association = associate(port, called)
    assert association.is_established
    try:
        answers = list(association.send_c_find(identifier, model))
    finally:
        association.release()
    matches = [match for status, match in answers if status.Status in (0xFF00, 0xFF01)]
    assert all(match is not None for match in matches)
    return [match for match in matches if match is not None], answers[-1][0]


def move(
    port: int, identifier: Dataset, to: str = "DEST", model: str = STUDY_ROOT
) -> tuple[Dataset, Dataset | None, list[Dataset]]:
    """The last status, its identifier, and the statuses before it."""
    association = associate(port)
    assert association.is_established
    try:
        answers = list(association.send_c_move(identifier, to, MOVE[model], msg_id=77))
    finally:
        association.release()
    return answers[-1][0], answers[-1][1], [status for status, _ in answers[:-1]]


def run(program: str, port: int, *arguments: str) -> tuple[int, str]:
    """A program of DCMTK's: its exit code, and what it has written."""
    command = [program, "-v", "-to", "20", "-aet", "WORKSTATION", "-aec", "GOOGLE", "127.0.0.1"]
    done = subprocess.run(
        [*command, str(port), *arguments], capture_output=True, timeout=60, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")
