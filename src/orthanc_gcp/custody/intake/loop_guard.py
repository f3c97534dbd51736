"""What came from a store is not sent to it by a rule, unless its bytes were changed since.

A retrieval writes down what it is about to give Orthanc before that has all of it. So whatever
Orthanc reports as new can be compared with what came, by the file's MD5 or by all of its bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orthanc_gcp.errors import OrthancGoneError, OrthancRefusedError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import Origin
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["LoopGuard"]


class LoopGuard:
    """Recognizes what came back from the store that it would be sent to."""

    def __init__(self, ledger: Ledger, orthanc: OrthancSource) -> None:
        self._ledger, self._orthanc = ledger, orthanc

    def recognize(self, arrivals: Sequence[NewTransfer]) -> list[NewTransfer]:
        """The same arrivals; those that came from their store, as it has them, say so.

        What somebody demands is sent all the same.

        Raises
        ------
        OrthancUnavailableError
            Orthanc is away.
        SQLAlchemyError
            The ledger is away.
        """
        by_account: dict[str, list[NewTransfer]] = defaultdict(list)
        for one in arrivals:
            if one.priority != Priority.DEMANDED:
                by_account[one.account].append(one)
        origins = {
            account: self._ledger.retrievals.origins(account, {one.sop_instance_uid for one in own})
            for account, own in by_account.items()
        }
        possible = {
            id(one): own
            for account, arrived in by_account.items()
            for one in arrived
            if (own := _possible(one, origins[account]))
        }
        asked = [one for one in arrivals if id(one) in possible]
        md5s = self._orthanc.checksums.md5s({one.orthanc_id: one.sop_instance_uid for one in asked})
        return [
            self._recognized(one, possible[id(one)], md5s.get(one.orthanc_id))
            if id(one) in possible
            else one
            for one in arrivals
        ]

    def _recognized(self, arrival: NewTransfer, origins: Sequence[Origin], md5: Any) -> NewTransfer:
        for one in origins:
            same = md5 == one.md5 if isinstance(md5, str) else self._has(arrival, one.sha256)
            if same:
                return replace(arrival, retrieved_sha256=one.sha256, retrieved_at=one.retrieved_at)
        return arrival

    def _has(self, arrival: NewTransfer, sha256: str) -> bool:
        """Whether Orthanc's file has a digest; one that cannot be read is sent."""
        try:
            found = self._orthanc.sha256(
                arrival.orthanc_id, arrival.attachment_uuid, arrival.size_bytes
            )
        except (OrthancGoneError, OrthancRefusedError):
            return False
        return found == sha256


def _possible(
    arrival: NewTransfer, origins: Mapping[tuple[str, str, str], list[Origin]]
) -> list[Origin]:
    """What came as this instance, unless Orthanc is known to have had another file of it."""
    uids = arrival.study_instance_uid, arrival.series_instance_uid, arrival.sop_instance_uid
    return [
        one
        for one in origins.get(uids, ())
        if len({one.attachment_uuid, arrival.attachment_uuid} - {None, ""}) < 2
    ]
