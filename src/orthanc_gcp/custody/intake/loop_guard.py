"""What came from a store is not sent to it by a rule, unless its bytes were changed since.

A retrieval writes down what it is about to give Orthanc before that has all of it. So whatever
Orthanc reports as new can be compared with what came, by the file's MD5 or by all of its bytes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

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
        return [self._recognized(one, origins.get(one.account, {})) for one in arrivals]

    def _recognized(
        self, arrival: NewTransfer, origins: Mapping[tuple[str, str, str], list[Origin]]
    ) -> NewTransfer:
        uids = arrival.study_instance_uid, arrival.series_instance_uid, arrival.sop_instance_uid
        possible = [
            one
            for one in origins.get(uids, ())
            if len({one.attachment_uuid, arrival.attachment_uuid} - {None, ""}) < 2
        ]
        if arrival.priority == Priority.DEMANDED or not possible:
            return arrival
        for one in possible:
            if self._has(arrival, one):
                return replace(arrival, retrieved_sha256=one.sha256, retrieved_at=one.retrieved_at)
        return arrival

    def _has(self, arrival: NewTransfer, origin: Origin) -> bool:
        """Whether Orthanc's file is the one that came; one that cannot be read is sent."""
        identifier, uid = arrival.orthanc_id, arrival.sop_instance_uid
        md5 = self._orthanc.checksums.md5s({identifier: uid}).get(identifier)
        if isinstance(md5, str):
            return md5 == origin.md5
        sha256 = hashlib.sha256()
        try:
            with self._orthanc.read(
                identifier, arrival.attachment_uuid, arrival.size_bytes
            ) as pieces:
                for piece in pieces:
                    sha256.update(piece)
        except (OrthancGoneError, OrthancRefusedError):
            return False
        return sha256.hexdigest() == origin.sha256
