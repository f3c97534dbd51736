"""Studies to be transferred: DICOM files of incompressible pixels, put into an Orthanc once."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from tests.support.orthanc import DICOMWEB, Orthanc

__all__ = ["BOUNDARY", "Load", "Workload", "blocks_of", "instances", "prepare", "upload"]

BOUNDARY = "workload-7f2c41d09b"
_BLOCK = 1 << 20
_TIMEOUT = 900
_LENGTH = 4  # bytes of the length field before the pixels


@dataclass(frozen=True)
class Workload:
    """How many studies of one series, instances in each, and bytes of pixels in each instance."""

    studies: int
    instances: int
    pixels: int

    def scaled(self, scale: float) -> Workload:
        """The same with fewer studies; with fewer instances, or smaller ones, if it is a single."""
        if self.studies > 1:
            return Workload(_part(self.studies, scale), self.instances, self.pixels)
        if self.instances > 1:
            return Workload(1, _part(self.instances, scale), self.pixels)
        return Workload(1, 1, 2 * _part(self.pixels // 2, scale))

    @property
    def total(self) -> int:
        """All instances."""
        return self.studies * self.instances

    @property
    def bytes(self) -> int:
        """Of all pixels."""
        return self.total * self.pixels


@dataclass
class Load:
    """A workload in an Orthanc's storage, from which Orthancs are started that have it already.

    ``body`` is the same as one multipart request, if it was asked for. ``studies`` are Orthanc's
    identifiers of the studies, each with those of its instances.
    """

    storage: Path
    body: Path | None
    studies: dict[str, list[str]] = field(default_factory=dict)
    bytes: int = 0

    @property
    def total(self) -> int:
        """All instances."""
        return sum(map(len, self.studies.values()))

    def copy(self, folder: Path) -> None:
        """Put the storage into an Orthanc's folder; only the index takes room of its own."""
        shutil.copytree(self.storage, folder / "storage", copy_function=_link_or_copy)


def instances(workload: Workload) -> Iterator[Iterator[tuple[bytes, int]]]:
    """For each study its instances: what comes before the pixels, and the pixels' length."""
    for number in range(workload.studies):
        yield _study(workload, f"{number:06}")


def _study(workload: Workload, patient: str) -> Iterator[tuple[bytes, int]]:
    study, series = generate_uid(), generate_uid()
    for number in range(workload.instances):
        yield _head(study, series, patient, number + 1, workload.pixels), workload.pixels


def prepare(workload: Workload, folder: Path, *, body: bool) -> Load:
    """Make the files, and put them into an Orthanc's storage, and into one body on demand."""
    load = Load(folder / "storage", folder / "body" if body else None)
    with (
        Orthanc(folder, {}, plugins=(DICOMWEB,), python_script="") as orthanc,
        (folder / "body" if body else Path(os.devnull)).open("wb") as file,
    ):
        connection = http.client.HTTPConnection("127.0.0.1", orthanc.port, timeout=_TIMEOUT)
        for study in instances(workload):
            for head, pixels in study:
                _load_instance(connection, load, head, pixels, file if body else None)
        connection.close()
        if body:
            file.write(f"--{BOUNDARY}--\r\n".encode())
    return load


def upload(connection: http.client.HTTPConnection, head: bytes, pixels: int) -> dict[str, str]:
    """Store an instance in Orthanc; its answer."""
    return _post(connection, blocks_of(head, pixels), len(head) + pixels)


def _load_instance(
    connection: http.client.HTTPConnection,
    load: Load,
    head: bytes,
    pixels: int,
    body: BinaryIO | None,
) -> None:
    blocks: Iterator[bytes] = blocks_of(head, pixels)
    if body is not None:
        body.write(f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode())
        blocks = _copied(blocks, body)
    answer = _post(connection, blocks, len(head) + pixels)
    if body is not None:
        body.write(b"\r\n")
    load.studies.setdefault(answer["ParentStudy"], []).append(answer["ID"])
    load.bytes += len(head) + pixels


def _post(
    connection: http.client.HTTPConnection, blocks: Iterator[bytes], length: int
) -> dict[str, str]:
    connection.request("POST", "/instances", blocks, {"Content-Length": str(length)})
    response = connection.getresponse()
    content = response.read()
    if response.status != http.client.OK:
        raise RuntimeError(f"Orthanc refused {length:,} bytes: {response.status} {content[:200]!r}")
    answer: dict[str, str] = json.loads(content)
    return answer


def blocks_of(head: bytes, pixels: int) -> Iterator[bytes]:
    """An instance; beyond the first block its pixels repeat, too far apart for a compressor."""
    random = os.urandom(min(pixels, _BLOCK))
    yield head + random
    for begin in range(len(random), pixels, len(random)):
        yield random[: pixels - begin]


def _copied(blocks: Iterator[bytes], file: BinaryIO) -> Iterator[bytes]:
    for block in blocks:
        file.write(block)
        yield block


def _head(study: str, series: str, patient: str, number: int, pixels: int) -> bytes:
    """A secondary capture of one row up to its pixels' length, which it has."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientID, dataset.PatientName = patient, f"Bench^{patient}"
    dataset.StudyDate, dataset.Modality, dataset.InstanceNumber = "20260101", "OT", number
    rows, columns, frames = _shape(pixels)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.add_new(0x7FE00010, "OB", b"")
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()[:-_LENGTH] + pixels.to_bytes(_LENGTH, "little")


def _shape(pixels: int) -> tuple[int, int, int]:
    """Rows, columns and frames that make so many pixels, an even number."""
    columns = 512 if pixels % 512 == 0 else 2
    lines = pixels // columns
    rows = next(rows for rows in (512, 256, 100, 10, 1) if lines % rows == 0)
    return rows, columns, lines // rows


def _link_or_copy(source: str, target: str) -> None:
    """Files of instances never change; the index does."""
    if Path(source).name.startswith("index"):
        shutil.copy2(source, target)
    else:
        os.link(source, target)


def _part(number: int, scale: float) -> int:
    return max(1, round(number * scale))
