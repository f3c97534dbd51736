"""Which attributes searches know (DICOM conformance statement of the Healthcare API, QIDO-RS).

Three levels, each with search keys, attributes returned by default and those that
``includefield=all`` adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_has_tag, tag_for_keyword

__all__ = [
    "INSTANCE",
    "SERIES",
    "STUDY",
    "Level",
    "levels_to",
    "resolve_tag",
    "tags",
]


def tags(keywords: str) -> tuple[int, ...]:
    """Return the tags of keywords that are separated by white space."""
    found = {keyword: tag_for_keyword(keyword) for keyword in keywords.split()}
    return tuple(tag for tag in found.values() if tag is not None)


@dataclass(frozen=True)
class Level:
    """What a search at one level of the hierarchy returns, by tags, and how many matches."""

    name: str
    defaults: tuple[int, ...]
    all: tuple[int, ...]
    default_limit: int
    max_limit: int


STUDY = Level(
    "study",
    tags(
        "SpecificCharacterSet StudyDate StudyTime AccessionNumber InstanceAvailability "
        "ReferringPhysicianName TimezoneOffsetFromUTC PatientName PatientID PatientBirthDate "
        "PatientSex StudyInstanceUID StudyID"
    ),
    tags(
        "PersonIdentificationCodeSequence PersonAddress PersonTelephoneNumbers "
        "PersonTelecomInformation InstitutionName InstitutionAddress InstitutionCodeSequence "
        "ReferringPhysicianIdentificationSequence ConsultingPhysicianName "
        "ConsultingPhysicianIdentificationSequence IssuerOfAccessionNumberSequence "
        "LocalNamespaceEntityID UniversalEntityID UniversalEntityIDType StudyDescription "
        "PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence "
        "NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence "
        "RequestingServiceCodeSequence ReferencedStudySequence ProcedureCodeSequence "
        "ReasonForPerformedProcedureCodeSequence"
    ),
    default_limit=100,
    max_limit=5000,
)
SERIES = Level(
    "series",
    tags(
        "SpecificCharacterSet Modality TimezoneOffsetFromUTC SeriesDescription SeriesInstanceUID "
        "PerformedProcedureStepStartDate PerformedProcedureStepStartTime "
        "RequestAttributesSequence"
    ),
    tags("SeriesNumber Laterality SeriesDate SeriesTime"),
    default_limit=100,
    max_limit=5000,
)
INSTANCE = Level(
    "instance",
    tags(
        "SpecificCharacterSet SOPClassUID SOPInstanceUID InstanceAvailability "
        "TimezoneOffsetFromUTC InstanceNumber Rows Columns BitsAllocated NumberOfFrames"
    ),
    (),
    default_limit=1000,
    max_limit=50000,
)
_LEVELS = (STUDY, SERIES, INSTANCE)


def levels_to(level: Level) -> tuple[Level, ...]:
    """Return a level with those above it, the highest first."""
    return _LEVELS[: _LEVELS.index(level) + 1]


@lru_cache(maxsize=8192)
def resolve_tag(name: str) -> int | None:
    """Return the tag for a keyword or for eight hexadecimal digits, if PS3.6 has it."""
    if len(name) == 8:
        try:
            tag = int(name, 16)
        except ValueError:
            pass
        else:
            return tag if dictionary_has_tag(tag) else None
    return tag_for_keyword(name) if name else None  # retired elements have an empty keyword
