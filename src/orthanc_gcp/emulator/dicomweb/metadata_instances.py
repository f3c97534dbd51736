"""Instances that come as metadata in the DICOM JSON Model and one value apart from it.

DICOM files (PS3.10) are made of them. The rules are those of the Healthcare API's DICOM conformance
statement for store transactions of JSON metadata and bulk data (PS3.18 section 10.5).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    PIXEL_DATA,
    UNDEFINED,
)
from orthanc_gcp.emulator.dicom.transfer_syntaxes import FRAME_TYPES
from orthanc_gcp.emulator.dicom.value_validation import any_values
from orthanc_gcp.emulator.http.media_types import MediaType
from orthanc_gcp.emulator.http.negotiation import OCTETS
from orthanc_gcp.emulator.storage.records import InstanceKey

__all__ = ["InvalidMetadataError", "MetadataInstance", "read_instance"]

_REQUIRED = ("00080005", "00020010", "00080016", "00080018", "0020000D", "0020000E")
_KEY = ("0020000D", "0020000E", "00080018")
_BULK_VRS = frozenset({"OB", "OW", "UN"})
_BULK_TYPES = {
    **FRAME_TYPES,
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
}
_NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE})
_ITEM = bytes.fromhex("FEFF00E0")
_EMPTY_OFFSET_TABLE = _ITEM + bytes(4)
_SEQUENCE_END = bytes.fromhex("FEFFDDE000000000")


class InvalidMetadataError(ValueError):
    """No file can be made of the metadata."""


@dataclass(frozen=True)
class MetadataInstance:
    """A file but for one value, that of the element ``tag``; without a ``uri`` it is complete.

    ``before`` and ``after`` are the bytes around that element.
    """

    before: bytes
    after: bytes
    transfer_syntax: str
    sop_class: str
    key: InstanceKey
    uri: str | None
    tag: int
    vr: str

    def check_type(self, content_type: MediaType) -> None:
        """Raise :class:`InvalidMetadataError` unless the value may come as this media type."""
        syntax = self.transfer_syntax
        wanted = content_type.parameters.get("transfer-syntax", syntax)
        if content_type.full not in (OCTETS, _BULK_TYPES.get(syntax)) or wanted != syntax:
            raise InvalidMetadataError(
                f"bulk data of the type {content_type.full}; transfer-syntax={wanted} in an "
                f"instance in {syntax}"
            )

    def around(self, size: int) -> tuple[bytes, bytes]:
        """Return what comes before and after a value of this size, in bytes.

        A value of pixel data in a compressed transfer syntax becomes the only fragment (PS3.5 A.4).
        Raises :class:`InvalidMetadataError` when it is too large for an element.
        """
        if self.uri is None:
            return self.before, b""
        padding = b"\0" * (size % 2)
        size += size % 2
        if size >= UNDEFINED:
            raise InvalidMetadataError("the bulk data are too large for an element")
        encapsulated = self.tag in PIXEL_DATA and self.transfer_syntax not in _NATIVE
        start, end = self._element(UNDEFINED if encapsulated else size), padding
        if encapsulated:
            start += _EMPTY_OFFSET_TABLE + _ITEM + struct.pack("<L", size)
            end += _SEQUENCE_END
        return self.before + start, end + self.after

    def _element(self, length: int) -> bytes:
        tag = struct.pack("<HH", self.tag >> 16, self.tag & 0xFFFF)
        vr = b"" if self.transfer_syntax == IMPLICIT_LITTLE else self.vr.encode() + bytes(2)
        return tag + vr + struct.pack("<L", length)


def read_instance(metadata: dict[str, Any]) -> MetadataInstance:
    """Return the instance that metadata describe.

    Raises :class:`InvalidMetadataError` when they lack something, or no file can be made of them.
    """
    try:
        with any_values():
            return _read(metadata)
    except InvalidMetadataError:
        raise
    except Exception as error:
        # pydicom may raise anything about values that are wrong.
        raise InvalidMetadataError(f"invalid metadata: {error}") from error


def _read(metadata: dict[str, Any]) -> MetadataInstance:
    for required in _REQUIRED:
        _require(metadata, required)
    if metadata["00080005"]["Value"] != ["ISO_IR 192"]:
        raise InvalidMetadataError("SpecificCharacterSet has to be ISO_IR 192")
    syntax = str(metadata["00020010"]["Value"][0])
    # Whether pixel data are encapsulated is not known of an unknown transfer syntax.
    if syntax in (EXPLICIT_BIG, DEFLATED) or UID(syntax).type != "Transfer Syntax":
        raise InvalidMetadataError(f"unsupported transfer syntax: {syntax}")
    elements = {int(tag, 16): element for tag, element in metadata.items()}
    if any("InlineBinary" in elements.get(pixels, {}) for pixels in PIXEL_DATA):
        raise InvalidMetadataError("pixel data have to be bulk data")
    bulk = [found for found, element in elements.items() if "BulkDataURI" in element]
    if len(bulk) > 1 or any(elements[found].get("vr") not in _BULK_VRS for found in bulk):
        raise InvalidMetadataError("one BulkDataURI is allowed, for OB, OW or UN")
    tag = bulk[0] if bulk else 0xFFFFFFFF
    element = elements.pop(tag, {})
    return MetadataInstance(
        before=_meta(elements) + _elements(elements, 0x00030000, tag - 1, syntax),
        after=_elements(elements, tag + 1, 0xFFFFFFFF, syntax),
        transfer_syntax=syntax,
        sop_class=str(metadata["00080016"]["Value"][0]),
        key=InstanceKey(*(str(metadata[uid]["Value"][0]) for uid in _KEY)),
        uri=str(element["BulkDataURI"]) if bulk else None,
        tag=tag,
        vr=str(element.get("vr", "")),
    )


def _require(metadata: dict[str, Any], tag: str) -> None:
    """Raise :class:`InvalidMetadataError` unless an attribute has a value that can be written."""
    value = metadata.get(tag, {}).get("Value", [None])[0]
    if not value:
        raise InvalidMetadataError(f"attribute {tag} is missing")
    try:
        str(value).encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidMetadataError(f"attribute {tag} has characters of other scripts") from None


def _meta(elements: dict[int, Any]) -> bytes:
    """Return the beginning of a file, with its meta information."""
    given = pydicom.Dataset.from_json(_model(elements, 0x00020000, 0x0002FFFF))
    identity = pydicom.Dataset.from_json(_model(elements, 0x00080016, 0x00080018))
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = given.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = identity.SOPClassUID
    meta.MediaStorageSOPInstanceUID = identity.SOPInstanceUID
    buffer = DicomBytesIO(bytes(128) + b"DICM")
    buffer.seek(0, io.SEEK_END)
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


def _elements(elements: dict[int, Any], first: int, last: int, syntax: str) -> bytes:
    """Return the elements of a range of tags as a data set has them."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = syntax == IMPLICIT_LITTLE
    data_set = pydicom.Dataset.from_json(_model(elements, first, last), _refuse)
    write_dataset(buffer, data_set, ["utf8"])
    return buffer.getvalue()


def _model(elements: dict[int, Any], first: int, last: int) -> dict[str, Any]:
    return {f"{tag:08X}": element for tag, element in elements.items() if first <= tag <= last}


def _refuse(uri: str) -> NoReturn:
    raise InvalidMetadataError(f"bulk data inside of a sequence: {uri}")
