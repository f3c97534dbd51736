"""Changes of attributes in files (PS3.10): what comes before the pixel data is written anew.

A change is made to the DICOM JSON of a file, and only the attributes in which that differs then are
changed in the file; all others keep their bytes.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter
from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    MAX_INFLATED,
    PIXEL_GROUP,
    DicomFile,
    Element,
    Encoding,
    FileSource,
)
from orthanc_gcp.emulator.dicom.value_validation import any_values
from orthanc_gcp.emulator.dicomweb.bulk_data import find_bulk_data
from orthanc_gcp.emulator.dicomweb.json_patch import PatchError, PatchOperation, apply_patch, equal

__all__ = ["EditedFile", "edit"]

MAX_HEAD = MAX_INFLATED
"""How long the attributes before the pixel data may be, or a deflated data set: they are held in
memory, and the reader inflates no more."""

_TOO_MUCH = "there is too much before the pixel data, or in a deflated file"
_UTF8 = "ISO_IR 192"
_FIXED = frozenset({"00080005", "00080016", "00080018", "0020000D", "0020000E"})
"""What identifies an instance, and the character set, which is always UTF-8 in JSON."""

Model = dict[str, Any]


@dataclass(frozen=True)
class EditedFile:
    """A file with changes: ``head``, and then the bytes of the old file from offset ``rest`` on."""

    head: bytes
    rest: int


def edit(file: BinaryIO, changes: list[PatchOperation], bulk_data: str) -> EditedFile | None:
    """Return a file with changes of its metadata; nothing if they make no difference.

    ``bulk_data`` is what the addresses of bulk data start with in metadata. Raises
    :class:`PatchError` when the changes do not fit, when an attribute must not be changed (those of
    the meta information, of the pixel data, and what identifies the instance) or is not what its VR
    takes, and :class:`InvalidDicomError` when the file cannot be read.
    """
    source = FileSource(file.fileno())
    dicom = DicomFile(source)
    old = JsonWriter(bulk_data.__add__).file(dicom)
    new = apply_patch(old, changes)
    if not isinstance(new, dict):
        raise PatchError("metadata are an object")
    changed = [tag for tag in {**old, **new} if not equal(old.get(tag), new.get(tag))]
    if not changed:
        return None
    for tag in changed:
        _check_tag(tag)

    room = MAX_HEAD

    def bulk_value(uri: str) -> bytes:
        nonlocal room
        found = find_bulk_data(file, uri.removeprefix(bulk_data).split("/"))
        if found is None or not uri.startswith(bulk_data):
            raise PatchError("a BulkDataURI is not one of the instance")
        room -= found.size
        if room <= 0:
            raise PatchError(_TOO_MUCH)
        return found.data_set.value(found.element)

    values = {tag: new[tag] for tag in changed if tag in new}
    return _edited(source, dicom, changed, values, bulk_value)


def _edited(
    source: FileSource,
    dicom: DicomFile,
    changed: list[str],
    values: Model,
    bulk_value: Callable[[str], bytes],
) -> EditedFile:
    """Return a file in which the changed attributes have these values, or are not there."""
    start = dicom.meta_elements[-1].end if dicom.source is source else 0
    elements = list(dicom.elements(stop=PIXEL_GROUP))
    end = elements[-1].end if elements else start
    held = end - start if dicom.source is source else dicom.source.size
    if held >= MAX_HEAD:
        raise PatchError(_TOO_MUCH)

    data_set = _parse(dicom.source.read(start, end - start), dicom, elements)
    for tag in changed:
        data_set.pop(int(tag, 16), None)
    written = _rewrite(data_set, dicom.encoding, values, bulk_value)
    meta = source.read(0, dicom.meta_elements[-1].end)
    if dicom.transfer_syntax != DEFLATED:
        return EditedFile(meta + written, end)
    tail = dicom.source.read(end, dicom.source.size - end)
    return EditedFile(meta + _deflate(written + tail), source.size)


def _check_tag(tag: str) -> None:
    """Refuse to change what cannot be changed."""
    try:
        number = int(tag, 16)
    except ValueError:
        number = -1
    if tag != f"{number:08X}" or not number & 0xFFFF:
        raise PatchError(f"{tag!r} is not the tag of an attribute")
    if tag in _FIXED or number < 0x00080000 or number >= PIXEL_GROUP:
        raise PatchError(f"attribute {tag} cannot be changed")


def _parse(body: bytes, dicom: DicomFile, elements: list[Element]) -> pydicom.Dataset:
    """Return a data set whose values are still those of the file."""
    encoding = dicom.encoding
    try:
        data_set = read_dataset(io.BytesIO(body), encoding.implicit, not encoding.big_endian)
        complete = set(map(int, data_set.keys())) == {element.tag for element in elements}
    except Exception as error:
        # pydicom may raise anything about values that are wrong.
        raise PatchError("the attributes of the file cannot be read") from error
    if not complete:
        raise PatchError("the attributes of the file cannot be read")
    return data_set


@any_values()
def _rewrite(
    data_set: pydicom.Dataset,
    encoding: Encoding,
    values: Model,
    bulk_value: Callable[[str], bytes],
) -> bytes:
    """Return the elements of a data set, some of them with other values."""
    if not json.dumps(values, ensure_ascii=False).isascii():
        _make_utf8(data_set)
    for tag, value in values.items():
        data_set.update(_attribute(tag, value, bulk_value))
    buffer = DicomBytesIO()
    buffer.is_little_endian = not encoding.big_endian
    buffer.is_implicit_VR = encoding.implicit
    try:
        write_dataset(buffer, data_set)
    except Exception as error:
        raise PatchError("the changed attributes cannot be written") from error
    return buffer.getvalue()


def _attribute(tag: str, value: Any, bulk_value: Callable[[str], bytes]) -> pydicom.Dataset:
    try:
        return pydicom.Dataset.from_json({tag: value}, bulk_value)
    except PatchError:
        raise
    except Exception as error:
        raise PatchError(f"attribute {tag} cannot be what it is changed to") from error


def _make_utf8(data_set: pydicom.Dataset) -> None:
    """Let a data set hold any text, which its own character set may not."""
    if data_set.get("SpecificCharacterSet") == _UTF8:
        return
    try:
        data_set.decode()
        data_set.SpecificCharacterSet = _UTF8
    except Exception as error:
        raise PatchError("the text of the instance cannot be decoded") from error


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = compressor.compress(data) + compressor.flush()
    return deflated + b"\0" * (len(deflated) % 2)
