"""C-STORE: instances are handed to Orthanc, and acknowledged once it has them (PS3.4 annex B)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from io import BytesIO
from itertools import chain

from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from orthanc_gcp.errors import OrthancError, OrthancUnavailableError
from orthanc_gcp.gateway.peers import printable_aet
from orthanc_gcp.gateway.spool import Spool
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["STORAGE_CLASSES", "TRANSFER_SYNTAXES", "Store", "StoreService"]

_log = logging.getLogger(__name__)

# PS3.4 §B.2.3
SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
_STORED = ("Success", "AlreadyStored")
_LATER = (429, 500, 502, 503, 504, 507)
"""HTTP statuses of an Orthanc that cannot take anything just now: its database or disk is away."""
_HEAD = 64 * 1024
_EXPLICIT, _IMPLICIT, _BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_RLE, _ENCAPSULATED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4."
_SOP_INSTANCE_UID = 0x00080018


def _storage_classes() -> frozenset[str]:
    """Those that store instances, by their names in PS3.6 annex A; retired ones, too."""
    return frozenset(
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class"
        and "Storage" in name
        and not any(one in name for one in ("Commitment", "Directory"))
    )


STORAGE_CLASSES = _storage_classes()
TRANSFER_SYNTAXES = (
    _EXPLICIT,
    _IMPLICIT,
    *(uid for uid in UID_dictionary if uid.startswith(_ENCAPSULATED)),
    _RLE,
    _DEFLATED,
    _BIG,
)
"""In the order in which they are chosen from what a peer proposes."""


@dataclass(frozen=True)
class Store:
    """A C-STORE request (PS3.7 §9.1.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    called: str
    calling: str
    data_set: Spool


class StoreService:
    """Hands instances to Orthanc; several threads may use it at once."""

    def __init__(self, orthanc: OrthancRest) -> None:
        self._orthanc = orthanc

    def __call__(self, store: Store) -> tuple[int, str]:
        """The status of the response, and why it is no success."""
        if store.data_set.problem:
            _log.error("an instance cannot be received: %s", store.data_set.problem)
            return OUT_OF_RESOURCES, "there is no room to receive it"
        if _is_another(store):
            return DOES_NOT_MATCH, "the data set is of another SOP class or instance"
        try:
            status, answer = self._upload(store)
        except OrthancError as error:
            _log.warning("an instance cannot be handed to Orthanc: %s", error)
            return OUT_OF_RESOURCES, "Orthanc does not take it just now"
        except OSError as error:
            _log.error("an instance that was received cannot be read: %s", error.strerror)
            return OUT_OF_RESOURCES, "it cannot be read"
        return _judged(status, answer)

    def _upload(self, store: Store) -> tuple[int, object]:
        """Hand it over, twice where the connection breaks: an idle one may be ended any time."""
        head = _preamble(store)
        try:
            return self._orthanc.upload("/instances", chain([head], store.data_set.pieces()))
        except OrthancUnavailableError as error:
            if error.timed_out:
                raise
            return self._orthanc.upload("/instances", chain([head], store.data_set.pieces()))


def _judged(status: int, answer: object) -> tuple[int, str]:
    """What Orthanc's answer to ``POST /instances`` means."""
    if status == 200 and isinstance(answer, dict):
        if answer.get("Status") in _STORED:
            return SUCCESS, ""
        return CANNOT_UNDERSTAND, "Orthanc does not keep it: its filter, or its storage, refuses"
    if status in _LATER:
        return OUT_OF_RESOURCES, f"Orthanc does not take it just now ({status})"
    return CANNOT_UNDERSTAND, f"Orthanc refuses it ({status})"


def _is_another(store: Store) -> bool:
    """Whether the data set is not of the SOP class and instance that the request names.

    What cannot be read here is Orthanc's to judge.
    """
    found = _beginning(store)
    return any(
        name in found and str(found[name].value).strip(" \0") != wanted
        for name, wanted in (
            ("SOPClassUID", store.sop_class_uid),
            ("SOPInstanceUID", store.sop_instance_uid),
        )
    )


def _beginning(store: Store) -> Dataset:
    """The first attributes, up to SOP Instance UID (0008,0018)."""
    if store.transfer_syntax == _DEFLATED:  # a few bytes of it may be gigabytes
        return Dataset()
    try:
        return read_dataset(
            BytesIO(store.data_set.head(_HEAD)),
            store.transfer_syntax == _IMPLICIT,
            store.transfer_syntax != _BIG,
            stop_when=lambda tag, _vr, _length: int(tag) > _SOP_INSTANCE_UID,
        )
    except Exception:  # pydicom raises what its parts raise
        return Dataset()


def _preamble(store: Store) -> bytes:
    """What stands before a data set in a file (PS3.10 §7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(store.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(store.sop_instance_uid)
    meta.TransferSyntaxUID = UID(store.transfer_syntax)
    meta.ImplementationClassUID = PYNETDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = PYNETDICOM_IMPLEMENTATION_VERSION
    meta.SourceApplicationEntityTitle = printable_aet(store.calling)
    meta.SendingApplicationEntityTitle = printable_aet(store.calling)
    meta.ReceivingApplicationEntityTitle = printable_aet(store.called)
    buffer = BytesIO()
    buffer.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(DicomIO(buffer), meta)
    return buffer.getvalue()
