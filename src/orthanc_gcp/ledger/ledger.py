"""The ledger: what has to go where, and how far it is.

Every method of its parts is one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import sqlalchemy as sql

from orthanc_gcp.ledger.arrivals import Arrivals
from orthanc_gcp.ledger.commitments.commitments import StorageCommitments
from orthanc_gcp.ledger.confirmations import Confirmations
from orthanc_gcp.ledger.database import reading, writing
from orthanc_gcp.ledger.destinations import Destinations, StoreName
from orthanc_gcp.ledger.events import Events
from orthanc_gcp.ledger.indexes import Indexes
from orthanc_gcp.ledger.key_values import KeyValues
from orthanc_gcp.ledger.queue import Queue
from orthanc_gcp.ledger.retrievals.prefetches import Prefetches
from orthanc_gcp.ledger.retrievals.retrievals import Retrievals
from orthanc_gcp.ledger.retrievals.rounds import RetrievalRounds
from orthanc_gcp.ledger.stored_digests import StoredDigests
from orthanc_gcp.ledger.versions import Versions

__all__ = ["Ledger"]


class Ledger:
    """One database, by what is done with it.

    Parameters
    ----------
    engine
        The database; see :mod:`orthanc_gcp.ledger.database`.
    now
        Seconds since 1970, UTC.
    stores
        Account -> the store that the configuration of this process names. Whatever is asked about
        an account is about this one.
    """

    def __init__(
        self,
        engine: sql.Engine,
        now: Callable[[], float] = time.time,
        stores: Mapping[str, StoreName] | None = None,
    ) -> None:
        self.engine = engine
        self.now = now
        self.destinations = Destinations(engine, now, stores)
        self.key_values = KeyValues(engine)
        self.events = Events(engine, now)
        self.indexes = Indexes(engine, now)
        self.arrivals = Arrivals(engine, now, self.key_values, self.destinations)
        self.queue = Queue(engine, now, self.destinations)
        self.confirmations = Confirmations(engine, now, self.destinations)
        self.stored_digests = StoredDigests(engine, self.destinations)
        self.versions = Versions(engine)
        self.retrievals = Retrievals(engine, now, self.destinations)
        self.retrieval_rounds = RetrievalRounds(engine, now)
        self.commitments = StorageCommitments(engine, now, self.destinations)
        self.prefetches = Prefetches(engine, now)

    def writing(self) -> AbstractContextManager[sql.Connection]:
        """A transaction that sees nobody else's half-done work."""
        return writing(self.engine)

    def reading(self) -> AbstractContextManager[sql.Connection]:
        """A connection that writes nothing."""
        return reading(self.engine)
