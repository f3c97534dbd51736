"""What the ledger knows of the bytes in a store, and what it does not claim to know."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger.rows import COLUMNS, transfer_of
from orthanc_gcp.ledger.schema import UNSURE, Priority, State, transfers
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


@pytest.mark.parametrize("state", [State.QUARANTINED, State.DELAYED])
@pytest.mark.parametrize("reason", ["conflict", "different", "uncompared"])
def test_what_was_seen_there_takes_the_place_of_what_was_known(confirmed, state, reason):
    assert resent(confirmed, "one")
    settle_batch(confirmed, state, "again-1", sha256="two", reason=reason)
    assert stored(confirmed) == UNSURE


@pytest.mark.parametrize("state", [State.QUARANTINED, State.DELAYED, State.WAITING, State.LOST])
def test_what_was_there_stays_known_when_it_was_not_sent(confirmed, state):
    assert resent(confirmed, "one")
    settle_batch(confirmed, state, "again-1", reason="damaged_file")
    assert stored(confirmed) == "one"


@pytest.mark.parametrize("state", [State.QUARANTINED, State.DELAYED, State.WAITING])
def test_nothing_is_there_where_nothing_was_sent_before(ledger, state):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, state, reason="invalid")
    assert stored(ledger) is None


def test_what_a_newer_one_has_superseded_may_be_replaced(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.SUPERSEDED, reason="superseded")
    assert stored(ledger) == UNSURE


@pytest.mark.parametrize("state", [State.SENDING, State.WAITING, State.DELAYED, State.QUARANTINED])
def test_what_was_ever_claimed_may_be_there_when_another_version_is_received(ledger, state):
    """Whatever its attempts say: a worker that was killed counts none."""
    ledger.arrivals.record([arrival("1", attachment_uuid="old")])
    claim(ledger)
    update(ledger, state=state, attempts=0)
    ledger.arrivals.record([arrival("1", attachment_uuid="new", change_seq=2)])
    assert stored(ledger) == UNSURE


def test_what_was_never_claimed_is_not_there_when_another_version_is_received(ledger):
    ledger.arrivals.record([arrival("1", attachment_uuid="old")])
    ledger.arrivals.record([arrival("1", attachment_uuid="new", change_seq=2)])
    assert stored(ledger) is None


def test_the_same_file_is_no_other_version(ledger):
    ledger.arrivals.record([arrival("1", attachment_uuid="one")])
    claim(ledger)
    settle_batch(ledger, State.QUARANTINED, reason="invalid")
    ledger.arrivals.record([arrival("1", attachment_uuid="one", priority=Priority.DEMANDED)])
    assert stored(ledger) is None


def test_that_it_was_to_be_replaced_is_known_when_it_is_demanded_again(ledger):
    ledger.arrivals.record([arrival("1", attachment_uuid="one")])
    claim(ledger)
    settle_batch(ledger, State.QUARANTINED, reason="x", replace=True)
    ledger.arrivals.record([arrival("1", attachment_uuid="one", priority=Priority.DEMANDED)])
    assert stored(ledger) == UNSURE


def test_that_it_was_to_be_replaced_is_known_when_the_store_has_lost_it(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="one", replace=True)
    found = ledger.confirmations.acknowledged(A, SERIES)
    assert ledger.confirmations.requeue_lost(found) == 1
    assert stored(ledger) == UNSURE


def test_what_was_there_is_remembered_until_another_is_confirmed(confirmed):
    assert resent(confirmed, "one")
    settle_batch(confirmed, State.ACKNOWLEDGED, "again-1", sha256="two")
    assert stored(confirmed) == "one"
    with confirmed.reading() as connection:
        row = connection.scalar(sql.select(transfers.c.id).where(transfers.c.sha256 == "two"))
    confirmed.confirmations.confirm({row: confirmed.now()})
    assert stored(confirmed) == "one", "a search does not say which of both is there"
    confirmed.confirmations.confirm({row: confirmed.now()}, {row: "two"})
    assert stored(confirmed) is None


def test_a_digest_that_was_only_sent_is_not_known(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.QUARANTINED, sha256="one", reason="conflict")
    update(ledger, state=State.WAITING)
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    (row,) = ledger.queue.claim(A, ORTHANC, "again", "w", **limits)
    assert not ledger.stored_digests.known(A, {row: "one"})


@pytest.mark.parametrize("reason", ["missing", "different"])
def test_what_the_store_had_acknowledged_and_was_not_found_there_is_not_known(ledger, reason):
    """Somebody else may have stored what is there by now."""
    ledger.arrivals.record([arrival("1")])
    update(ledger, sha256="one", reason=reason, attempts=1)
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    (row,) = ledger.queue.claim(A, ORTHANC, "again", "w", **limits)
    assert not ledger.stored_digests.known(A, {row: "one"})


@pytest.mark.parametrize("demanded", [False, True])
def test_what_an_audit_has_missed_is_not_known(confirmed, demanded):
    """Nor by what another Orthanc has sent: somebody may have put something in its place."""
    resent(confirmed, "one", "x", source="another")
    settle_batch(confirmed, State.ACKNOWLEDGED, "again-x", sha256="one")
    (other,) = confirmed.confirmations.acknowledged(A, SERIES)
    confirmed.confirmations.confirm({other.id: confirmed.now()})
    with confirmed.reading() as connection:
        rows = connection.execute(sql.select(*COLUMNS).order_by(transfers.c.id)).all()
    assert confirmed.confirmations.requeue_lost([transfer_of(rows[0])]) == 1
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    (row,) = confirmed.queue.claim(A, ORTHANC, "missed", "w", **limits)
    assert not confirmed.stored_digests.known(A, {row: "one"})
    settle_batch(confirmed, State.ACKNOWLEDGED, "missed", sha256="one")
    confirmed.confirmations.confirm({row.id: confirmed.now()})
    (again,) = confirmed.confirmations.acknowledged(A, SERIES)
    assert again.may_be_other, "a search does not say what is there"
    if demanded:
        assert not resent(confirmed, "one", "x", source="another", priority=Priority.DEMANDED)
