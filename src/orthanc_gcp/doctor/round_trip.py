"""A tiny instance, sent to the store and taken out of it again.

Store, search and retrieve are those of DICOMweb (PS3.18 §10.5, §10.6, §10.4); that a store deletes
is Google's addition. The file is written here, since the connector has no pydicom.
"""

from __future__ import annotations

import secrets
import struct
import time
import uuid

from orthanc_gcp.doctor.healthcare_api import Store
from orthanc_gcp.errors import NetworkError, StoreError
from orthanc_gcp.reasons import ApiReason

__all__ = ["instance", "round_trip"]

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_TRIES = 5
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def round_trip(store: Store) -> str:
    """Send, find, fetch, compare and delete; the instance is deleted whatever happens.

    Returns
    -------
    str
        What was done, for the line of the check.

    Raises
    ------
    StoreError, NetworkError
        A step was refused, or what came back is not what was sent.
    """
    study, series, sop = (f"2.25.{uuid.uuid4().int}" for _ in range(3))
    content = instance(study, series, sop)
    path = f"/dicomWeb/studies/{study}/series/{series}/instances/{sop}"
    kind = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    store.request("/dicomWeb/studies", "POST", content, kind)
    try:
        _find(store, f"/dicomWeb/studies/{study}/series/{series}/instances", sop)
        accept = {"Accept": "application/dicom; transfer-syntax=*"}
        if store.request(path, headers=accept).data != content:
            raise StoreError(
                "the tiny instance came back with other bytes", reason=ApiReason.ROUND_TRIP
            )
    finally:
        _delete(store, path, study)
    return "a tiny instance was sent, found, fetched (the same bytes) and deleted"


def _delete(store: Store, path: str, study: str) -> None:
    try:
        store.request(path, "DELETE")
    except (StoreError, NetworkError) as error:
        message = f"the tiny instance of study {study} may still be there, deleting failed: {error}"
        details = error.details if isinstance(error, StoreError) else None
        raise StoreError(
            message, reason=error.reason, status=error.status, details=details
        ) from error


def _find(store: Store, path: str, sop: str) -> None:
    """A store that answered 200 need not have stored, and a search may lag for seconds."""
    for _ in range(_TRIES):
        if sop.encode() in store.request(path, headers={"Accept": "application/dicom+json"}).data:
            return
        time.sleep(1)
    message = "the store took the tiny instance with 200, but a search does not find it"
    raise StoreError(message, reason=ApiReason.ROUND_TRIP)


def instance(study: str, series: str, sop: str) -> bytes:
    """A valid DICOM file without pixels or patient (PS3.10 §7.1, Explicit VR Little Endian)."""
    name = f"orthanc-gcp^check {secrets.token_hex(4)}"
    meta = b"".join(
        [
            _element(0x0002, 0x0001, "OB", b"\0\1"),
            _element(0x0002, 0x0002, "UI", SECONDARY_CAPTURE),
            _element(0x0002, 0x0003, "UI", sop),
            _element(0x0002, 0x0010, "UI", EXPLICIT_LITTLE_ENDIAN),
            _element(0x0002, 0x0012, "UI", "2.25.1"),
        ]
    )
    dataset = b"".join(
        [
            _element(0x0008, 0x0016, "UI", SECONDARY_CAPTURE),
            _element(0x0008, 0x0018, "UI", sop),
            _element(0x0008, 0x0060, "CS", "OT"),
            _element(0x0010, 0x0010, "PN", name),
            _element(0x0010, 0x0020, "LO", "orthanc-gcp"),
            _element(0x0020, 0x000D, "UI", study),
            _element(0x0020, 0x000E, "UI", series),
        ]
    )
    length = _element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta + dataset


def _element(group: int, element: int, vr: str, value: str | bytes) -> bytes:
    """One data element (PS3.5 §7.1.2)."""
    data = value.encode("ascii") if isinstance(value, str) else value
    if len(data) % 2:
        data += b"\0" if vr == "UI" else b" "
    header = struct.pack("<HH", group, element) + vr.encode("ascii")
    size = struct.pack("<HI", 0, len(data)) if vr == "OB" else struct.pack("<H", len(data))
    return header + size + data
