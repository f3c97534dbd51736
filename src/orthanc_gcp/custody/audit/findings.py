"""What an audit finds out of instances, each named by its three UIDs.

A SOP Instance UID alone names none: the same one in another study is another instance.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orthanc_gcp.dicomweb.search import FoundInstance
from orthanc_gcp.ledger.rows import Transfer

__all__ = ["Category", "Finding", "StudyResult", "Uids"]

Uids = FoundInstance
"""The UIDs of an instance: of its study, its series and itself."""


class Category(StrEnum):
    """What can be said of an instance, beside that it is in the store as it should be."""

    NOT_IN_LEDGER = "NotInLedger"
    """Orthanc has it and the rules want it, and nobody has written it down."""
    WAITING = "Waiting"
    """It is still to be sent, or to be seen in the store."""
    QUARANTINED = "Quarantined"
    LOST = "Lost"
    """It was to be sent and is nowhere any more, as the ledger says."""
    MISSING = "Missing"
    """The store had it, as the ledger says, and has it not."""
    DIFFERENT = "Different"
    """The store has other bytes than those that were sent."""
    UNCOMPARED = "Uncompared"
    """Orthanc or the store cannot say what it has of it."""
    SUPERSEDED = "Superseded"
    """There is a newer version of it."""
    WITHDRAWN = "Withdrawn"
    """It was deleted in Orthanc before it was sent, or a person has closed it."""
    DISMISSED = "Dismissed"
    """It was in quarantine, and a person has said that it is not to be sent."""
    BEFORE_FOLLOWING = "BeforeFollowing"
    """The rules would want it, and Orthanc received it before they were followed."""
    FORMER_STORE = "FormerStore"
    """It was to be sent to what the account was formerly; a difference while Orthanc has it."""
    UNKNOWN = "Unknown"
    """The store has it, and neither Orthanc nor the ledger knows it."""


_DIFFERENCES = frozenset(
    {
        Category.NOT_IN_LEDGER,
        Category.WAITING,
        Category.QUARANTINED,
        Category.LOST,
        Category.MISSING,
        Category.DIFFERENT,
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out of an instance at an account.

    Attributes
    ----------
    orthanc_id
        Orthanc's identifier; empty where neither Orthanc nor the ledger has one.
    in_orthanc, in_store
        Whether this Orthanc has it now, and whether the store has something under its UIDs.
    reason
        A word for programs, or a few for people; empty where the category says it all.
    transfer
        The row of the ledger that it is about.
    digests
        Those that differ, by what they are of: ``Sha256``, ``StoreSha256``, ``Md5``, ``StoreMd5``.
    accounts
        Where the rules want what Orthanc has of it; None where Orthanc cannot read what they ask
        for.
    """

    category: Category
    uids: Uids
    orthanc_id: str = ""
    in_orthanc: bool = False
    in_store: bool = False
    reason: str = ""
    transfer: Transfer | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    accounts: Set[str] | None = frozenset()

    @property
    def differs(self) -> bool:
        """Whether by it something that should be in the store is not there as it should be."""
        if self.category is Category.FORMER_STORE:
            return self.in_orthanc
        return self.category in _DIFFERENCES

    def as_json(self) -> dict[str, Any]:
        """The same for programs, beside the Study Instance UID."""
        found: dict[str, Any] = {
            "Series": self.uids.series_instance_uid,
            "Instance": self.uids.sop_instance_uid,
        }
        if self.orthanc_id:
            found["OrthancId"] = self.orthanc_id
        found |= {"InOrthanc": self.in_orthanc, "InStore": self.in_store}
        if self.reason:
            found["Reason"] = self.reason
        return found | dict(self.digests)


@dataclass(frozen=True)
class StudyResult:
    """What came of a study at one account.

    Attributes
    ----------
    study_instance_uid, account
        None for what concerns no study, or no account.
    stored, bytes
        The instances that the store has as it should, and their size in Orthanc.
    not_wanted
        How many instances Orthanc has that no rule of these accounts wants.
    queued
        How many instances were queued to be sent by it: also to other accounts that the rules want
        them for, and once for each.
    error
        Why it could not be compared; empty when it was.
    """

    study_instance_uid: str | None
    account: str | None
    stored: Sequence[Uids] = ()
    bytes: int = 0
    not_wanted: int = 0
    findings: Sequence[Finding] = ()
    queued: int = 0
    error: str = ""

    @property
    def differs(self) -> bool:
        """Whether something that should be in the store is not there as it should be."""
        return any(one.differs for one in self.findings)

    @property
    def is_incomplete(self) -> bool:
        """Whether something of it could not be compared."""
        return bool(self.error) or any(one.category is Category.UNCOMPARED for one in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """How many instances there are of each kind; none that is 0.

        ``Instances`` are those that should be in the store.
        """
        wanted = {one.uids for one in self.findings if one.differs}
        counted = Counter(one.category.value for one in self.findings)
        found = {
            "Instances": len(self.stored) + len(wanted),
            "Stored": len(self.stored),
            **counted,
            "NotWanted": self.not_wanted,
            "Queued": self.queued,
        }
        return {name: number for name, number in found.items() if number}

    def as_json(self) -> dict[str, Any]:
        """The same for programs, each instance under its category."""
        found: dict[str, Any] = {"Study": self.study_instance_uid, "Account": self.account}
        if self.error:
            return found | {"Error": self.error}
        found |= {"Differs": self.differs, "Counts": self.counts, "Bytes": self.bytes}
        for category in Category:
            some = [one.as_json() for one in self.findings if one.category is category]
            if some:
                found[category.value] = some
        return found

    def for_archive(self) -> dict[str, Any]:
        """The same with all instances that the store has as it should, by series."""
        found, series = self.as_json(), defaultdict[str, list[str]](list)
        for uids in sorted(self.stored):
            series[uids.series_instance_uid].append(uids.sop_instance_uid)
        if series:
            found["Stored"] = dict(series)
        return found
