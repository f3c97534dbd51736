"""Deflated data sets: as long as they announce, and no longer."""

from __future__ import annotations

import tempfile
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom import reader
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.inflation import inflate
from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    EXPLICIT_LITTLE,
    MAX_INFLATED,
    BytesSource,
    DicomFile,
    InvalidDicomError,
)
from tests.emulator.client import Client, make_dicom, path_of, read
from tests.emulator.dicom.imaging import MAX_MEMORY, peak_of_imaging
from tests.emulator.images import GRADIENT, image

JPEG_LS = "1.2.840.10008.1.2.4.80"
RLE = "1.2.840.10008.1.2.5"


def deflated(content: bytes, more: bytes = b"", ending: int = zlib.Z_FINISH) -> bytes:
    """Return a file whose data set is deflated, with more behind it; whole, or to be gone on."""
    dataset = read(content)
    dataset.file_meta.TransferSyntaxUID = UID(DEFLATED)
    start = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
    head = content[:start].replace(
        b"UI\x14\0" + EXPLICIT_LITTLE.encode() + b"\0", b"UI\x16\0" + DEFLATED.encode()
    )
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return head + stream.compress(content[start:] + more) + stream.flush(ending)


def inflated(content: bytes) -> bytes:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(content)
        source.flush()
        inflate(source, target)
        target.seek(0)
        return target.read()


def zeros(length: int) -> bytes:
    """Return a private element."""
    return (
        b"\xfd\x7f\x10\0LO\x04\0TEST\xfd\x7f\x00\x10OB\0\0"
        + length.to_bytes(4, "little")
        + (bytes(length))
    )


def test_the_data_set_is_the_same() -> None:
    content = image(GRADIENT)
    got = read(inflated(deflated(content)))
    assert got.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
    assert got == read(content)


def test_pixels_count_beside_the_rest() -> None:
    frames = np.zeros((34, 1000, 1000), np.uint16)
    assert frames.nbytes > MAX_INFLATED
    assert len(inflated(deflated(image(frames)))) > frames.nbytes


def test_longer_than_announced() -> None:
    with pytest.raises(ImagingError, match="longer than it announces"):
        inflated(deflated(make_dicom(), zeros(MAX_INFLATED)))


def test_what_cannot_be_inflated() -> None:
    content = deflated(make_dicom())
    with pytest.raises(ImagingError, match="is cut off"):
        inflated(content[:-20])
    frames = np.zeros((34, 1000, 1000), np.uint16)
    content = deflated(image(frames), ending=zlib.Z_FULL_FLUSH) + b"\xff" * 100
    with pytest.raises(ImagingError, match="cannot be inflated"):  # beyond what the reader reads
        inflated(content)
    start = DicomFile(BytesSource(deflated(make_dicom()))).start
    content = deflated(make_dicom())[:start]
    with pytest.raises(InvalidDicomError, match="cannot be inflated"):
        inflated(content + b"\xff" * 100)


def test_a_bomb_takes_no_memory(client: Client) -> None:
    original = image(GRADIENT)
    content = deflated(original, zeros(200_000_000))
    assert len(content) < 300_000
    assert client.store(content).status == 200
    path = path_of(read(original))
    for resource in (f"{path}/frames/1", f"{path}/rendered", path):  # the last is transcoded
        assert client.get(resource).status in (400, 406)
    assert 0 < peak_of_imaging() < MAX_MEMORY


def test_nobody_waits_while_something_is_inflated(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    inflate_head, threads = reader._inflate, set()

    def noted(*arguments: Any) -> bytes:
        threads.add(threading.current_thread().name.partition("_")[0])
        return inflate_head(*arguments)

    monkeypatch.setattr(reader, "_inflate", noted)
    content = deflated(image(GRADIENT))
    assert client.store(content).status == 200
    path = path_of(read(content))
    syntaxes = ("*", EXPLICIT_LITTLE, DEFLATED, RLE)
    wanted = [(path, f"application/dicom; transfer-syntax={syntax}") for syntax in syntaxes]
    for resource in ("metadata", "frames/1", "rendered", "bulkdata/7FE00010"):
        wanted.append((f"{path}/{resource}", "*/*"))
    wanted.append(("/instances?includefield=all", "*/*"))
    assert [client.get(*each).status for each in wanted] == [200] * len(wanted)
    assert (
        client.get(path, "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80").status == 406
    )
    assert threads == {"request"}
