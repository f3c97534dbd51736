"""A request for storage commitment: the information of an N-ACTION (PS3.4 §J.3.2.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from orthanc_gcp.ledger.commitments.rows import SopReference

__all__ = [
    "INVALID_ARGUMENT",
    "MISSING_ARGUMENT",
    "RESOURCE_LIMITATION",
    "CommitmentRequest",
    "RequestError",
    "read_request",
]

MOST_REFERENCES = 20_000
MISSING_ARGUMENT, INVALID_ARGUMENT, RESOURCE_LIMITATION = 0x0114, 0x0115, 0x0213
"""PS3.7 annex C."""
_UID = re.compile(r"[!-+.-\[\]-~]{1,64}")
"""Printable ASCII; a comma or a backslash would make several of it."""


class RequestError(Exception):
    """A request cannot be answered; the message shows no value of it.

    Attributes
    ----------
    status
        That of the response.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class CommitmentRequest:
    """What the store is to be responsible for, each instance once."""

    transaction_uid: str
    references: tuple[SopReference, ...]


def read_request(information: bytes, is_implicit: bool) -> CommitmentRequest:
    """Take the information of an action apart, which is encoded in Little Endian.

    Raises
    ------
    RequestError
        Something is missing or wrong, or it is about too many instances.
    """
    try:
        dataset = read_dataset(BytesIO(information), is_implicit, True)
        transaction = _uid(dataset, "TransactionUID")
        references = tuple(dict.fromkeys(_references(dataset)))
    except RequestError:
        raise
    except Exception as error:  # pydicom raises what its parts raise
        name = type(error).__name__
        raise RequestError(INVALID_ARGUMENT, f"the request cannot be read ({name})") from None
    if not references:
        raise RequestError(MISSING_ARGUMENT, "Referenced SOP Sequence is missing or empty")
    return CommitmentRequest(transaction, references)


def _references(dataset: Dataset) -> Iterator[SopReference]:
    if "ReferencedSOPSequence" not in dataset:
        return
    items = dataset["ReferencedSOPSequence"].value
    if len(items) > MOST_REFERENCES:
        words = f"it refers to more than {MOST_REFERENCES} instances"
        raise RequestError(RESOURCE_LIMITATION, words)
    for item in items:
        yield SopReference(
            _uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID")
        )


def _uid(dataset: Dataset, name: str) -> str:
    if name not in dataset:
        raise RequestError(MISSING_ARGUMENT, f"{name} is missing")
    value = str(dataset[name].value).strip(" \0")
    if not _UID.fullmatch(value):
        raise RequestError(INVALID_ARGUMENT, f"{name} is no UID")
    return value
