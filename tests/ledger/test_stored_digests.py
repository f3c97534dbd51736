"""What the ledger knows of the bytes in a store, and what it does not claim to know."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger.schema import State, transfers
from tests.support.ledgers import ORTHANC, SERIES, A, arrival, claim, settle_batch


@pytest.fixture
def confirmed(ledger):
    """A ledger with one instance that was confirmed with the digest ``one``."""
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="one")
    found = ledger.confirmations.acknowledged(A, SERIES)
    ledger.confirmations.confirm({row.id: ledger.now() for row in found})
    return ledger


def resent(ledger, digest: str, name: str = "1", **more: object) -> bool:
    """Whether the store is known to have an instance with a digest, when it is sent again."""
    ledger.arrivals.record([arrival(name, change_seq=9, sop_instance_uid="1.1", **more)])
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    source = more.get("source", ORTHANC)
    (row,) = ledger.queue.claim(A, source, f"again-{name}", "w", **limits)
    return row.id in ledger.stored_digests.known(A, {row: digest})


def update(ledger, **values: object) -> None:
    with ledger.writing() as connection:
        connection.execute(sql.update(transfers).values(**values))


def test_what_was_confirmed_is_known_when_it_is_sent_again(confirmed):
    assert resent(confirmed, "one")


def test_other_bytes_are_not_known(confirmed):
    assert not resent(confirmed, "two")


def test_what_another_orthanc_has_sent_is_known(confirmed):
    assert resent(confirmed, "one", "x", source="another")


@pytest.mark.parametrize("level", ["study_instance_uid", "series_instance_uid"])
def test_another_study_or_series_is_another_instance(confirmed, level):
    assert not resent(confirmed, "one", "x", source="another", **{level: "other"})


def test_what_two_rows_disagree_in_is_not_known(confirmed):
    resent(confirmed, "two", "x", source="another")
    settle_batch(confirmed, State.ACKNOWLEDGED, "again-x", sha256="two")
    assert not resent(confirmed, "one")
    settle_batch(confirmed, State.DELAYED, "again-1")
    assert not resent(confirmed, "two", "y", source="third")


def test_what_may_have_been_replaced_is_not_known(confirmed):
    resent(confirmed, "two", "x", source="another")
    settle_batch(confirmed, State.DELAYED, "again-x", replace=True)
    assert not resent(confirmed, "one")


def stored(ledger) -> str | None:
    with ledger.reading() as connection:
        return connection.scalar(sql.select(transfers.c.stored_sha256))


def test_what_is_in_quarantine_takes_the_place_of_what_was_known(confirmed):
    assert resent(confirmed, "one")
    settle_batch(confirmed, State.QUARANTINED, "again-1", sha256="two", reason="conflict")
    assert stored(confirmed) is None


def test_what_was_there_is_remembered_until_another_is_confirmed(confirmed):
    assert resent(confirmed, "one")
    settle_batch(confirmed, State.ACKNOWLEDGED, "again-1", sha256="two")
    assert stored(confirmed) == "one"
    with confirmed.reading() as connection:
        row = connection.scalar(sql.select(transfers.c.id).where(transfers.c.sha256 == "two"))
    confirmed.confirmations.confirm({row: confirmed.now()})
    assert stored(confirmed) is None


def test_a_digest_that_was_only_sent_is_not_known(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.QUARANTINED, sha256="one", reason="conflict")
    update(ledger, state=State.WAITING)
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    (row,) = ledger.queue.claim(A, ORTHANC, "again", "w", **limits)
    assert not ledger.stored_digests.known(A, {row: "one"})


@pytest.mark.parametrize(("reason", "known"), [("missing", True), ("different", False)])
def test_what_the_store_had_acknowledged_is_known_unless_it_gave_back_other_bytes(
    ledger, reason, known
):
    ledger.arrivals.record([arrival("1")])
    update(ledger, sha256="one", reason=reason)
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    (row,) = ledger.queue.claim(A, ORTHANC, "again", "w", **limits)
    assert (row.id in ledger.stored_digests.known(A, {row: "one"})) == known
