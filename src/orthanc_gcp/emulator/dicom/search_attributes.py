"""Which attributes searches know (DICOM conformance statement of the Healthcare API, QIDO-RS).

Three levels, each with search keys, attributes returned by default and those that
``includefield=all`` adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import (
    dictionary_has_tag,
    keyword_for_tag,
    repeater_has_tag,
    tag_for_keyword,
)

__all__ = [
    "INSTANCE",
    "SERIES",
    "STUDY",
    "Level",
    "can_be_returned",
    "levels_to",
    "name_of",
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
_OTHER_GROUPS = frozenset({0x0000, 0x0004, 0xFFFC, 0xFFFE})
_OF_QUERIES = frozenset(tags("QueryRetrieveLevel QueryRetrieveView AvailableTransferSyntaxUID"))


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
            return tag if dictionary_has_tag(tag) or repeater_has_tag(tag) else None
    return tag_for_keyword(name) if name else None  # retired elements have an empty keyword


def name_of(tag: int) -> str:
    """Return the keyword of an attribute of PS3.6, or its tag when it has none."""
    return keyword_for_tag(tag) or f"{tag:08X}"


def can_be_returned(tag: int) -> bool:
    """Return whether ``includefield`` may name an attribute: whether a file can have it.

    Attributes of commands (PS3.7), directories (PS3.3 annex F), items and padding (PS3.5) and of
    queries (PS3.4 annex C, PS3.18 section 10.6) are in no file. Those of queries that count, or
    list what a study contains, are let through, because workstations ask for them.
    """
    return tag >> 16 not in _OTHER_GROUPS and tag not in _OF_QUERIES
