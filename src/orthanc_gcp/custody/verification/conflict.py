"""What differs between an instance in Orthanc and the one that the store has under its UIDs."""

from __future__ import annotations

import io
from typing import Any

from orthanc_gcp.custody.verification.digest import digest_of
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["differences"]

_MOST_NAMES = 20


def differences(
    store: DicomStore, orthanc: OrthancSource, transfer: Transfer, sha256: str
) -> str | None:
    """What differs, in words, after the store has refused an instance; None where nothing does.

    Instances are the same when all their bytes are. Where they are not, attributes before the
    pixel data are compared as far as the first 4 MiB reach, and named by their keywords of
    PS3.6: values are patient data, and are left out.

    Parameters
    ----------
    sha256
        Of the bytes in Orthanc.

    Raises
    ------
    StoreError
        The store's instance could not be read (PS3.18 §10.4).
    OrthancError
        Orthanc's could not.
    """
    uids = transfer.study_instance_uid, transfer.series_instance_uid, transfer.sop_instance_uid
    with store.open(*uids) as pieces:
        theirs = digest_of(pieces)
    if theirs.sha256 == sha256:
        return None
    with orthanc.read(transfer.orthanc_id, transfer.attachment_uuid, transfer.size_bytes) as pieces:
        ours = digest_of(pieces)
    names = _differing(ours.head, theirs.head)
    what = ", ".join(names) if names else "only pixel data or private encoding"
    return (
        f"the store has other bytes under these UIDs: {theirs.size_bytes} bytes with SHA-256 "
        f"{theirs.sha256}, Orthanc has {transfer.size_bytes} with {sha256}; "
        f"different attributes: {what}"
    )


def _differing(ours: bytes, theirs: bytes) -> list[str]:
    one, other = _attributes(ours), _attributes(theirs)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return names[:_MOST_NAMES] + more


def _attributes(head: bytes) -> dict[str, Any]:
    from pydicom import dcmread  # only a conflict needs it

    try:
        dataset = dcmread(io.BytesIO(head), stop_before_pixels=True, force=True)
        elements = [*getattr(dataset, "file_meta", ()), *dataset]
        return {element.keyword or str(element.tag): repr(element.value) for element in elements}
    except Exception:  # whatever a file holds, that it differs is known already
        return {}
