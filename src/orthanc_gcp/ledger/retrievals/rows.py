"""The rows about retrievals, as those read and write them who retrieve and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from orthanc_gcp.ledger.schema import RetrievedState, retrievals, retrieved_instances

__all__ = [
    "INSTANCE_COLUMNS",
    "LACKING",
    "PENDING",
    "RETRIEVAL_COLUMNS",
    "THERE",
    "Arrived",
    "Coming",
    "Digests",
    "Listed",
    "Notified",
    "Origin",
    "Resource",
    "RetrievalOutcome",
    "RetrievalReport",
    "RetrievalRow",
    "RetrievedRow",
]

PENDING = (RetrievedState.WAITING, RetrievedState.COMPARING)
THERE = (RetrievedState.RECEIVED, RetrievedState.PRESENT)
LACKING = (RetrievedState.MISSING, RetrievedState.DIFFERENT)
"""The states of instances that are still to come, that Orthanc has, and that it has not."""

Uids = tuple[str, str, str]
"""The UIDs of an instance: of its study, its series and itself."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A study, a series of it, or an instance of that."""

    study_instance_uid: str
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None

    def has(self, uids: Uids) -> bool:
        """Whether an instance is, or is in, this resource."""
        own = (self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid)
        return all(mine in (None, other) for mine, other in zip(own, uids, strict=True))


@dataclass(frozen=True, slots=True)
class RetrievalRow:
    """What somebody wants back, and how far it is."""

    id: int
    account: str
    destination_id: int
    source: str
    study_instance_uid: str
    series_instance_uid: str | None
    sop_instance_uid: str | None
    compare_bytes: bool
    state: str
    rounds: int
    attempts: int
    next_attempt_at: float | None
    reason: str | None
    detail: str | None
    requested_at: float
    ended_at: float | None
    cause: str | None = None

    @property
    def resource(self) -> Resource:
        """What it is about."""
        return Resource(self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid)


@dataclass(frozen=True, slots=True)
class RetrievedRow:
    """An instance that is to come back.

    Attributes
    ----------
    size_bytes
        An estimate, until it has come.
    md5
        Of the bytes that came, if they ever did.
    """

    id: int
    retrieval_id: int
    destination_id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    state: str
    attempts: int
    next_attempt_at: float | None
    reason: str | None
    detail: str | None
    md5: str | None
    orthanc_id: str | None
    attachment_uuid: str | None

    @property
    def uids(self) -> Uids:
        """Those of its study, its series and itself."""
        return self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance that a store lists.

    Attributes
    ----------
    fault
        Why it can never be asked for, in words; None where it can.
    """

    uids: Uids
    size_bytes: int
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Notified:
    """An instance that a notification says a store has."""

    message_id: str
    uids: Uids


@dataclass(frozen=True, slots=True)
class Digests:
    """What came of an instance: its size, and digests in hexadecimal digits."""

    size_bytes: int
    md5: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Coming:
    """An instance whose bytes are about to be in Orthanc.

    Attributes
    ----------
    id
        Of its row.
    attempts
        How often it was given to Orthanc, this time included.
    """

    id: int
    attempts: int
    digests: Digests


@dataclass(frozen=True, slots=True)
class RetrievalOutcome:
    """What becomes of an instance after an attempt.

    Attributes
    ----------
    may_be_in_orthanc
        Whether Orthanc may have the bytes that were given: not where it says that it did not take
        them. Whoever sends it the same later is not taken for the store then.
    """

    id: int
    state: RetrievedState
    attempts: int = 0
    next_attempt_at: float | None = None
    reason: str | None = None
    detail: str | None = None
    orthanc_id: str | None = None
    may_be_in_orthanc: bool = True


@dataclass(frozen=True, slots=True)
class Arrived:
    """An instance that Orthanc has, as a retrieval recognizes it."""

    uids: Uids
    orthanc_id: str
    attachment_uuid: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The bytes of an instance that came from a store.

    Attributes
    ----------
    attachment_uuid
        Of the file that Orthanc made of them; None while that is not known.
    """

    md5: str
    sha256: str
    attachment_uuid: str | None
    retrieved_at: float


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """A retrieval as people see it.

    Attributes
    ----------
    counts, sizes
        State -> how many instances are in it, and their bytes as far as they are known.
    missing
        Some of those that Orthanc does not have as the store does.
    held_up
        One of those that are tried again later.
    """

    row: RetrievalRow
    counts: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[RetrievedRow, ...] = ()
    held_up: RetrievedRow | None = None

    @property
    def why(self) -> tuple[str | None, str | None]:
        """Why it has ended as it has, or what it waits for: the reason, and its words."""
        said = self.row if self.row.reason or self.held_up is None else self.held_up
        return said.reason, said.detail


RETRIEVAL_COLUMNS = [retrievals.c[one.name] for one in fields(RetrievalRow)]
INSTANCE_COLUMNS = [retrieved_instances.c[one.name] for one in fields(RetrievedRow)]
"""What the rows are made of, in their order."""
