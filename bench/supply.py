"""A store that has a workload, to be brought back: who its instances are, and their digests."""

from __future__ import annotations

import hashlib
import http.client
import io
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydicom import dcmread

from bench.workload import BOUNDARY, Workload, blocks_of, instances
from tests.support.emulator import STORE_PATH, Emulator

__all__ = ["Stored", "fill"]

_TIMEOUT = 900
_DELIMITER = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()


@dataclass(frozen=True)
class Stored:
    """An instance in the store: its UIDs, and the MD5 of its file in hexadecimal digits."""

    study: str
    series: str
    instance: str
    md5: str


def fill(emulator: Emulator, workload: Workload) -> list[Stored]:
    """Store a workload, a request for each study.

    Raises
    ------
    RuntimeError
        If the store refuses a study, or does not count what it was given.
    """
    address = urlsplit(emulator.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT)
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    headers = {**emulator.bearer(), "Content-Type": kind}
    stored: list[Stored] = []
    for study in instances(workload):
        body = _multipart(study, stored)
        connection.request("POST", f"/v1/{STORE_PATH}/dicomWeb/studies", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"the store refused a study: {answer.status} {content[:200]!r}")
    connection.close()
    metrics = emulator.call("GET", f"{STORE_PATH}:getDICOMStoreMetrics")
    if int(metrics.get("instanceCount", 0)) != workload.total:
        raise RuntimeError(f"the store has not {workload.total} instances: {metrics}")
    return stored


def _multipart(study: Iterator[tuple[bytes, int]], stored: list[Stored]) -> Iterator[bytes]:
    """The body of a store request, whose instances are noted down as they leave."""
    for head, pixels in study:
        digest = hashlib.md5(usedforsecurity=False)
        before = _DELIMITER
        for block in blocks_of(head, pixels):
            digest.update(block)
            yield before + block
            before = b""
        stored.append(_identified(head, digest.hexdigest()))
        yield b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


def _identified(head: bytes, md5: str) -> Stored:
    dataset = dcmread(io.BytesIO(head), stop_before_pixels=True)
    return Stored(
        *map(str, (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)),
        md5=md5,
    )
