"""What the index keeps of an instance, taken from its header when it arrives.

The three UIDs that identify it are required (PS3.3 sections C.7.2.1, C.7.3.1 and C.12.1). What they
consist of is not looked at: Google's store takes what is no UID by PS3.5 section 9.1, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote

from orthanc_gcp.emulator.dicom.dicom_json import (
    MAX_SEQUENCE,
    JsonWriter,
    encodings_of,
    is_bulk,
    read_encodings,
    to_text,
    to_uid,
)
from orthanc_gcp.emulator.dicom.reader import (
    PIXEL_GROUP,
    DicomFile,
    Element,
    InvalidDicomError,
    Source,
)
from orthanc_gcp.emulator.dicom.search_attributes import INSTANCE, SERIES, STUDY, Level, tags

__all__ = [
    "DetachedRecord",
    "Header",
    "InstanceKey",
    "Record",
    "level_attributes",
    "path_segment",
    "read_record",
    "resource_path",
]

_CHARACTER_SET = 0x00080005
_STUDY_UID, _SERIES_UID, _SOP_CLASS, _SOP_UID = tags(
    "StudyInstanceUID SeriesInstanceUID SOPClassUID SOPInstanceUID"
)
_STUDY_KEYS = dict(
    zip(
        ("patient_name", "patient_id", "accession_number", "referring_physician", "study_date"),
        tags("PatientName PatientID AccessionNumber ReferringPhysicianName StudyDate"),
        strict=True,
    )
)
(_MODALITY,) = tags("Modality")
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_MAX_UID_LENGTH = 4096
"""In bytes. A path of three such UIDs, percent-encoded, fits into the head of a request."""


def resource_path(*uids: str) -> str:
    """Return the path of a study, a series or an instance below the address of its store."""
    levels = zip(("studies", "series", "instances"), uids, strict=False)
    return "/".join(f"{level}/{path_segment(uid)}" for level, uid in levels)


def path_segment(uid: str) -> str:
    """Return a UID as a segment of a path.

    What a segment cannot hold is percent-encoded (RFC 3986 section 2.1), and so are the dots of
    one that would be a step to somewhere else (section 3.3).
    """
    digits = uid.replace(".", "")
    if digits.isdecimal() and digits.isascii():
        return uid
    return uid.replace(".", "%2E") if uid in (".", "..") else quote(uid, safe="")


@dataclass(frozen=True)
class InstanceKey:
    """The three UIDs that identify an instance in a store."""

    study: str
    series: str
    instance: str

    @cached_property
    def path(self) -> str:
        """The path of the instance below the address of its store."""
        return resource_path(self.study, self.series, self.instance)


@dataclass(frozen=True)
class Header:
    """The elements of a file that come before its pixel data."""

    file: DicomFile
    elements: dict[int, Element]

    def text(self, tag: int) -> str:
        """Return an attribute's text, without padding; nothing when it is absent, empty or long."""
        element = self.elements.get(tag)
        if element is None or element.vr == "SQ" or not _is_kept(element):
            return ""
        return to_text(self.file.value(element), self._encodings).strip("\0 ")

    def uid(self, tag: int) -> str:
        """Return an attribute that identifies something, without padding (PS3.5 section 6.2, UI).

        Raises :class:`InvalidDicomError` when it is absent or empty, or so long that no request
        could name it.
        """
        element = self.elements.get(tag)
        if element is None or element.vr == "SQ":
            raise InvalidDicomError(f"attribute {tag:08X} is missing")
        if element.end - element.offset > _MAX_UID_LENGTH:
            raise InvalidDicomError(f"attribute {tag:08X} is too long")
        uid = to_uid(self.file.value(element))
        if not uid:
            raise InvalidDicomError(f"attribute {tag:08X} is missing")
        return uid

    @property
    def key(self) -> InstanceKey:
        """The UIDs of the instance; raises :class:`InvalidDicomError` as :meth:`uid` does."""
        return InstanceKey(self.uid(_STUDY_UID), self.uid(_SERIES_UID), self.uid(_SOP_UID))

    @cached_property
    def _encodings(self) -> Sequence[str]:
        element = self.elements.get(_CHARACTER_SET)
        return encodings_of(self.file, element) if element else read_encodings(b"")


@dataclass(frozen=True)
class Record:
    """An instance as the index keeps it."""

    key: InstanceKey
    sop_class: str
    header: Header

    @property
    def transfer_syntax(self) -> str:
        return self.header.file.transfer_syntax

    @property
    def modality(self) -> str:
        return self.header.text(_MODALITY)

    def study_keys(self) -> dict[str, str]:
        """Return the values that searches compare, at study level."""
        return {column: self.header.text(tag) for column, tag in _STUDY_KEYS.items()}

    def attributes(self, level: Level) -> str:
        """Return the JSON of the attributes of a level that searches may return.

        Addresses of bulk data in it begin below that of the store.
        """
        header, wanted = self.header, (*level.defaults, *level.all)
        bulk_data_uri = f"{self.key.path}/bulkdata/".__add__
        attributes = level_attributes(header.file, header.elements, wanted, bulk_data_uri)
        return _ENCODER.encode(attributes)


@dataclass(frozen=True)
class DetachedRecord:
    """What the index keeps of a record, read from its file already."""

    key: InstanceKey
    sop_class: str
    transfer_syntax: str
    modality: str
    keys: dict[str, str]
    levels: dict[str, str]

    @classmethod
    def of(cls, record: Record) -> DetachedRecord:
        """Read everything now, while the record's file is open."""
        levels = {level.name: record.attributes(level) for level in (STUDY, SERIES, INSTANCE)}
        keys, syntax = record.study_keys(), record.transfer_syntax
        return cls(record.key, record.sop_class, syntax, record.modality, keys, levels)

    def study_keys(self) -> dict[str, str]:
        return self.keys

    def attributes(self, level: Level) -> str:
        return self.levels[level.name]


def read_record(source: Source) -> Record:
    """Read what the index needs of a file.

    Raises :class:`InvalidDicomError` when it is no DICOM file, and as :meth:`Header.uid` does.
    """
    try:
        file = DicomFile(source)
        elements = {element.tag: element for element in file.elements(stop=PIXEL_GROUP)}
    except InvalidDicomError:
        raise
    except Exception as error:
        # Whatever goes wrong in the reader, it is the file that is wrong.
        raise InvalidDicomError("the data set cannot be parsed") from error
    header = Header(file, elements)
    return Record(header.key, header.uid(_SOP_CLASS), header)


def level_attributes(
    file: DicomFile,
    elements: dict[int, Element],
    wanted: Collection[int],
    bulk_data_uri: Callable[[str], str],
) -> dict[str, Any]:
    """Return some top-level attributes of a data set as DICOM JSON, ordered by tag.

    Long ones are left out, as long sequences are. ``bulk_data_uri`` is what :class:`JsonWriter`
    takes.
    """
    chosen = [elements[tag] for tag in _ordered(tuple(wanted)) if tag in elements]
    return JsonWriter(bulk_data_uri).elements(file, filter(_is_kept, chosen))


def _is_kept(element: Element) -> bool:
    """Return whether a value is one that fits into the index, of which the address does at least.

    Implicit VR has room for 4 GB in any attribute.
    """
    return element.end - element.offset <= MAX_SEQUENCE or is_bulk(element)


@lru_cache
def _ordered(wanted: tuple[int, ...]) -> list[int]:
    return sorted({*wanted, _CHARACTER_SET})
