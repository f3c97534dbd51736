"""Files of instances, as a ledger knows those that were sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import pydicom
import sqlalchemy as sql
from pydicom.filebase import DicomBytesIO

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome, Series
from orthanc_gcp.ledger.schema import State, transfers


def dataset(content: bytes) -> pydicom.Dataset:
    """The attributes of a file, without pixels."""
    return pydicom.dcmread(DicomBytesIO(content), stop_before_pixels=True)


def changed(content: bytes, **attributes: Any) -> bytes:
    """The same file with other attributes."""
    whole = pydicom.dcmread(DicomBytesIO(content))
    for name, value in attributes.items():
        setattr(whole, name, value)
    buffer = DicomBytesIO()
    whole.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def record(ledger: Ledger, files: Iterable[bytes], account: str = "a") -> None:
    """Files that wait to be sent; their SOP Instance UID stands for Orthanc's identifier."""
    ledger.arrivals.record(
        [
            NewTransfer(
                account=account,
                source="o",
                orthanc_id=str(one.SOPInstanceUID),
                study_instance_uid=str(one.StudyInstanceUID),
                series_instance_uid=str(one.SeriesInstanceUID),
                sop_instance_uid=str(one.SOPInstanceUID),
                size_bytes=len(content),
                received_at=ledger.now(),
            )
            for content in files
            for one in [dataset(content)]
        ]
    )


def acknowledge(ledger: Ledger, files: Sequence[bytes], account: str = "a") -> list[int]:
    """What waits of an account was acknowledged, with the digests of these files; their rows."""
    digests = {
        str(dataset(content).SOPInstanceUID): hashlib.sha256(content).hexdigest()
        for content in files
    }
    claimed = ledger.queue.claim(
        account, "o", "b", "w", most_instances=1000, most_bytes=10**9, most_batches=9
    )
    outcomes = [
        Outcome(row.id, State.ACKNOWLEDGED, sha256=digests[row.sop_instance_uid]) for row in claimed
    ]
    ledger.queue.settle("b", outcomes)
    return [row.id for row in claimed]


def send(ledger: Ledger, files: Sequence[bytes], account: str = "a") -> list[int]:
    """These files were sent and acknowledged; their rows."""
    record(ledger, files, account)
    return acknowledge(ledger, files, account)


def series_of(content: bytes) -> Series:
    """The series of a file."""
    one = dataset(content)
    return Series(str(one.StudyInstanceUID), str(one.SeriesInstanceUID))


def rows(ledger: Ledger) -> list[Any]:
    """All rows, in the order in which they were written down."""
    with ledger.reading() as connection:
        return list(connection.execute(sql.select(transfers).order_by(transfers.c.id)))
