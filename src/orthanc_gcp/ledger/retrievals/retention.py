"""How long the ledger holds what has ended well: rows go, some at a time, as others are added."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.ledger.schema import (
    PREFETCH_HAS_ENDED,
    RETRIEVAL_IS_COMPLETE,
    prefetches,
    retrievals,
    retrieved_instances,
)

__all__ = ["KEPT_FOR", "remove_old_prefetches", "remove_old_retrievals"]

KEPT_FOR = 30 * 86400.0
"""Seconds after the end: a message comes again (Pub/Sub holds it for 7 days by default), a person
asks what came, and what Orthanc reports late is recognized as what came from the store."""
MOST_INSTANCES = 5000
"""Rows of instances that one transaction removes, at most: the rest of a large retrieval goes with
the next."""


def remove_old_retrievals(connection: sql.Connection, now: float, added: int) -> None:
    """Remove some that are complete for long; never one that lacks anything, or goes on.

    Parameters
    ----------
    added
        So many are being added: more than these are removed.
    """
    of, instances = retrievals.c, retrieved_instances.c
    newest = sql.select(sql.func.max(of.id)).scalar_subquery()
    old = (
        sql.select(of.id)
        # SQLite gives the number of the newest a second time.
        .where(sql.text(RETRIEVAL_IS_COMPLETE), of.ended_at < now - KEPT_FOR, of.id < newest)
        .order_by(of.ended_at)
        .limit(_most(added))
    )
    numbers = connection.scalars(old).all()
    if not numbers:
        return
    theirs = instances.retrieval_id.in_(numbers)
    some = sql.select(instances.id).where(theirs).limit(MOST_INSTANCES)
    connection.execute(retrieved_instances.delete().where(instances.id.in_(some)))
    left = sql.select(instances.retrieval_id).where(theirs)
    connection.execute(retrievals.delete().where(of.id.in_(numbers), of.id.not_in(left)))


def remove_old_prefetches(connection: sql.Connection, now: float, added: int) -> None:
    """Remove some that have ended long ago.

    Parameters
    ----------
    added
        So many are being added: more than these are removed.
    """
    of = prefetches.c
    old = (
        sql.select(of.id)
        .where(sql.text(PREFETCH_HAS_ENDED), of.ended_at < now - KEPT_FOR)
        .order_by(of.ended_at)
        .limit(_most(added))
    )
    connection.execute(prefetches.delete().where(of.id.in_(old)))


def _most(added: int) -> int:
    return 10 + 2 * min(added, 200)
