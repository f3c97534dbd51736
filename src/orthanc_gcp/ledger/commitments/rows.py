"""The rows about storage commitment, as the gateway reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from orthanc_gcp.ledger.schema import commitment_references, storage_commitments

__all__ = [
    "COMMITMENT_COLUMNS",
    "REFERENCE_COLUMNS",
    "CommitmentReport",
    "CommitmentRow",
    "KnownInstance",
    "ReferenceRow",
    "SopReference",
    "Transaction",
]


@dataclass(frozen=True, slots=True)
class SopReference:
    """An instance that somebody refers to (PS3.3 §10.8, SOP Instance Reference)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """Who asks a store to be responsible, and in which transaction.

    Attributes
    ----------
    address
        Where the modality asked from.
    """

    transaction_uid: str
    calling_aet: str
    called_aet: str
    address: str


@dataclass(frozen=True, slots=True)
class CommitmentRow:
    """A transaction, and how far it is."""

    id: int
    account: str
    transaction_uid: str
    calling_aet: str
    called_aet: str
    address: str
    state: str
    attempts: int
    next_attempt_at: float | None
    detail: str | None
    requested_at: float


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """An instance of a transaction.

    Attributes
    ----------
    failure_reason
        Failure Reason (0008,1197) of one that the store is not responsible for.
    """

    id: int
    sop_class_uid: str
    sop_instance_uid: str
    state: str
    failure_reason: int | None


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """What the ledger knows of a version of an instance on its way to a store.

    Attributes
    ----------
    attachment_uuid
        Of its file in Orthanc; empty where Orthanc does not tell it.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    attachment_uuid: str
    state: str


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """A transaction that has not ended, as people see it.

    Attributes
    ----------
    counts
        State -> how many of its instances are in it.
    """

    row: CommitmentRow
    counts: Mapping[str, int]


COMMITMENT_COLUMNS = [storage_commitments.c[one.name] for one in fields(CommitmentRow)]
REFERENCE_COLUMNS = [commitment_references.c[one.name] for one in fields(ReferenceRow)]
"""What the rows are made of, in their order."""
