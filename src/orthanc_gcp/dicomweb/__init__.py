"""A client of one DICOM store of the Cloud Healthcare API, for bulk: streamed and counted.

DICOMweb (PS3.18 §10): store (STOW-RS, §10.5), search (QIDO-RS, §10.6), retrieve (WADO-RS, §10.4).

It is synchronous, on plain blocking sockets of a few threads: that costs the least processor time
per byte, hashing and socket calls let other threads run meanwhile, and those who use it have a
thread for each request. An event loop would add its own work to every block of bytes.

Nothing is called stored that the store has not named as stored, in an answer that came after the
last byte of the request.
"""

from __future__ import annotations

from orthanc_gcp.dicomweb.client import DicomStore, Stored
from orthanc_gcp.dicomweb.of_account import of_account
from orthanc_gcp.dicomweb.search import FoundInstance
from orthanc_gcp.dicomweb.store_request import Part
from orthanc_gcp.dicomweb.store_response import InstanceResult, InstanceStatus
from orthanc_gcp.errors import SourceError, StoreError

__all__ = [
    "DicomStore",
    "FoundInstance",
    "InstanceResult",
    "InstanceStatus",
    "Part",
    "SourceError",
    "StoreError",
    "Stored",
    "of_account",
]
