"""What is open for a former store: handed over to the present one, or closed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.intake.former_stores import close, hand_over
from orthanc_gcp.custody.reporting.receipts import Receipt, receipts
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSURE, Priority, State, events, transfers
from tests.support.ledgers import (
    ORTHANC,
    SERIES,
    A,
    arrival,
    claim,
    meanwhile,
    settle_batch,
)
from tests.support.transfers import events_of, settle

ALL = ("held", "waiting", "delayed", "sending", "acknowledged", "confirmed", "invalid", "uid")


def receipt_of(ledger: Ledger) -> Receipt:
    """The receipt of the account of before."""
    (found,) = receipts(ledger, "study", A)
    return found


def process(ledger: Ledger, **stores: str) -> Ledger:
    """A process whose configuration names these stores."""
    own = Ledger(ledger.engine, ledger.now, {name: StoreName(one) for name, one in stores.items()})
    own.destinations.register()
    return own


@pytest.fixture
def former(ledger, clock):
    """An instance in each state for the former store, and the process of before."""
    own = process(ledger, **{A: "first"})
    own.arrivals.record([arrival("uid", study_instance_uid="..")])
    for name, state, more in (
        ("delayed", State.DELAYED, {"next_attempt_at": 9e12, "attempts": 3}),
        ("acknowledged", State.ACKNOWLEDGED, {"sha256": "d"}),
        ("confirmed", State.ACKNOWLEDGED, {"sha256": "d"}),
        ("invalid", State.QUARANTINED, {"reason": "invalid", "sha256": "d", "replace": True}),
    ):
        own.arrivals.record([arrival(name)])
        claim(own)
        settle_batch(own, state, **more)
    with ledger.reading() as connection:
        query = sql.select(transfers.c.id).where(transfers.c.orthanc_id == "confirmed")
        (confirmed,) = connection.scalars(query)
    own.confirmations.confirm({confirmed: own.now()})
    own.arrivals.record([arrival("sending")])
    claim(own, "still")
    own.arrivals.record([arrival("held", held_for_orthanc_id="s"), arrival("waiting")])
    clock.now += 100
    return own


def rows(ledger: Ledger) -> dict[str, list[tuple[str, str, str]]]:
    """By the store of their destination: account, instance, state."""
    stores = {one.id: one.store for one in ledger.destinations.all()}
    found: dict[str, list[tuple[str, str, str]]] = {}
    with ledger.reading() as connection:
        for row in connection.execute(sql.select(transfers).order_by(transfers.c.orthanc_id)):
            place = str(stores[row.destination_id])
            found.setdefault(place, []).append((row.account, row.orthanc_id, row.state))
    return found


LEFT = [(A, "confirmed", "confirmed"), (A, "sending", "sending"), (A, "uid", "quarantined")]


def test_what_is_open_is_sent_to_the_present_store(ledger, former):
    now = process(ledger, **{A: "second"})
    assert hand_over(now, former.destinations.find(A), A) == 5
    found = rows(ledger)
    assert found["first"] == LEFT
    assert found["second"] == [
        (A, name, "held" if name == "held" else "waiting")
        for name in ("acknowledged", "delayed", "held", "invalid", "waiting")
    ]
    assert len(events_of(ledger, "handed over")) == 5
    now.arrivals.release(ORTHANC, ["s"])
    with ledger.reading() as connection:
        mine = transfers.c.destination_id == now.destinations.find(A)
        for row in connection.execute(sql.select(transfers).where(mine)):
            assert (row.sha256, row.stored_sha256, row.attempts) == (None, None, 0)
            assert row.worker is None
            assert (row.replace, row.queued_at) == (False, ledger.now())
    assert sorted(claim(now, "c")) == ["acknowledged", "delayed", "held", "invalid", "waiting"]
    assert hand_over(now, former.destinations.find(A), A) == 0


def test_what_the_present_store_has_too_is_withdrawn(ledger, former):
    now = process(ledger, **{A: "second"})
    now.arrivals.record([arrival("waiting", received_at=9000.0), arrival("new")])
    assert hand_over(now, former.destinations.find(A), A) == 5
    assert (A, "waiting", "withdrawn") in rows(ledger)["first"]
    assert (A, "waiting", "waiting") in rows(ledger)["second"]
    (event,) = (one for one in events_of(ledger, "handed over") if "has it" in (one.detail or ""))
    assert event.account == A


def test_what_was_closed_for_the_present_store_is_sent_when_it_is_handed_over(ledger):
    """The account is a former store again, for which it was closed."""
    first = process(ledger, **{A: "first"})
    first.arrivals.record([arrival("1")])
    assert close(first, first.destinations.find(A)) == 1
    second = process(ledger, **{A: "second"})
    second.arrivals.record([arrival("1", priority=Priority.DEMANDED)])
    again = process(ledger, **{A: "first"})
    assert hand_over(again, second.destinations.find(A), A) == 1
    assert rows(ledger) == {"first": [(A, "1", "waiting")], "second": [(A, "1", "withdrawn")]}
    assert claim(again) == ["1"]


@pytest.mark.parametrize("anew", [{"state": State.SENDING, "batch": "c"}, {"received_at": 9e9}])
def test_what_is_sent_or_received_meanwhile_is_not_handed_over_to(postgresql_ledger, anew):
    first = process(postgresql_ledger, **{A: "first"})
    first.arrivals.record([arrival("1")])
    assert close(first, first.destinations.find(A)) == 1
    second = process(postgresql_ledger, **{A: "second"})
    second.arrivals.record([arrival("1", priority=Priority.DEMANDED)])
    again = process(postgresql_ledger, **{A: "first"})
    here = transfers.c.destination_id == again.destinations.find(A)
    values = {"state": State.WAITING, "attachment_uuid": "anew", "reason": None} | anew
    meanwhile(
        postgresql_ledger,
        lambda connection: connection.execute(transfers.update().where(here).values(**values)),
        lambda: hand_over(again, second.destinations.find(A), A),
    )
    with postgresql_ledger.reading() as connection:
        row = connection.execute(sql.select(transfers).where(here)).one()
    assert {name: getattr(row, name) for name in values} == values


def test_a_newer_version_is_handed_over_to_the_store_that_has_the_older(ledger, clock):
    first = process(ledger, **{A: "first"})
    first.arrivals.record([arrival("1", attachment_uuid="old", received_at=10.0)])
    claim(first)
    settle_batch(first, State.ACKNOWLEDGED, sha256="o")
    (row,) = (one.id for one in first.confirmations.acknowledged(A, SERIES))
    first.confirmations.confirm({row: clock.now})
    second = process(ledger, **{A: "second"})
    second.arrivals.record(
        [arrival("1", attachment_uuid="new", received_at=20.0, change_seq=9, size_bytes=7)]
    )
    again = process(ledger, **{A: "first"})
    assert hand_over(again, second.destinations.find(A), A) == 1
    assert rows(ledger) == {"first": [(A, "1", "waiting")], "second": [(A, "1", "withdrawn")]}
    with ledger.reading() as connection:
        found = connection.execute(sql.select(transfers).where(transfers.c.id == row)).one()
    assert (found.attachment_uuid, found.received_at, found.size_bytes) == ("new", 20.0, 7)
    assert (found.stored_sha256, found.confirmed_at) == ("o", None), "a search is no proof of it"


def test_another_account_takes_it(ledger, former):
    """As when an account was renamed."""
    now = process(ledger, other="first")
    assert hand_over(now, former.destinations.find(A), "other") == 5
    assert {account for account, *_ in rows(ledger)["first"]} == {A, "other"}
    with ledger.reading() as connection:
        query = sql.select(events.c.account).where(events.c.kind == "handed over").distinct()
        assert list(connection.scalars(query)) == [A], "the receipt of before says where it went"
    assert (
        len(
            now.queue.claim(
                "other", "orthanc", "b", "w", most_instances=9, most_bytes=999, most_batches=9
            )
        )
        == 4
    )


@pytest.mark.parametrize("has", [State.CONFIRMED, State.QUARANTINED])
def test_a_receipt_is_complete_where_the_other_account_has_confirmed_it(ledger, has):
    """It has the same store, as when an account was renamed, and its rules want the same."""
    first = process(ledger, **{A: "first"})
    first.arrivals.record([arrival("1")])
    now = process(ledger, other="first")
    now.arrivals.record([arrival("1", account="other")])
    state = State.ACKNOWLEDGED if has is State.CONFIRMED else has
    sent = settle(now, state, account="other", source=ORTHANC, sha256="d")
    now.confirmations.confirm(dict.fromkeys(sent, now.now()))
    assert not receipt_of(now).complete
    assert hand_over(now, first.destinations.find(A), "other") == 1
    assert set(rows(ledger)["first"]) == {(A, "1", "withdrawn"), ("other", "1", has)}
    assert receipt_of(now).complete == (has is State.CONFIRMED)


def test_an_older_version_of_the_other_account_is_no_proof_of_what_was_handed_over(ledger):
    """Its PatientID was corrected, and the store has refused that."""
    now = process(ledger, **{A: "first", "other": "first"})
    received = [("old", 10.0), ("new", 20.0)]
    versions = [arrival(name, sop_instance_uid="1", received_at=at) for name, at in received]
    for one in versions:
        now.arrivals.record([replace(one, account="other")])
        state = State.ACKNOWLEDGED if one.orthanc_id == "old" else State.QUARANTINED
        sent = settle(now, state, account="other", source=ORTHANC, sha256=one.orthanc_id)
        now.confirmations.confirm(dict.fromkeys(sent, now.now()))
    now.arrivals.record(versions[1:])
    assert hand_over(now, now.destinations.find(A), "other") == 1
    assert (A, "new", "withdrawn") in rows(ledger)["first"]
    assert not receipt_of(now).complete


def test_what_may_be_in_the_store_is_known_when_only_the_account_has_another_name(ledger, former):
    former.arrivals.record([arrival("delayed", attachment_uuid="newer", change_seq=2)])
    now = process(ledger, other="first")
    assert hand_over(now, former.destinations.find(A), "other") == 5
    with ledger.reading() as connection:
        mine = transfers.c.account == "other"
        found = {
            row.orthanc_id: row for row in connection.execute(sql.select(transfers).where(mine))
        }
    there = {name for name, row in found.items() if row.stored_sha256 == UNSURE}
    assert there == {"delayed", "invalid"}, "an older version, and what was to be replaced"
    assert {name for name, row in found.items() if row.worker} == {*there, "acknowledged"}


def test_what_is_closed_is_never_sent(ledger, former):
    number = former.destinations.find(A)
    assert close(process(ledger, **{A: "second"}), number) == 6
    states = {name: state for _, name, state in rows(ledger)["first"]}
    assert states == {
        **dict.fromkeys(ALL, "withdrawn"),
        "confirmed": "confirmed",
        "sending": "sending",
    }
    assert len(events_of(ledger, "closed")) == 6
    former.arrivals.release(ORTHANC, ["s"])
    assert claim(former, "again") == []
    assert close(former, number) == 0


def test_no_older_version_of_what_is_closed_is_left(ledger):
    own = process(ledger, **{A: "first"})
    for at in (1.0, 2.0):
        own.arrivals.record([arrival(f"{at}", sop_instance_uid="1.2", received_at=at)])
    assert claim(own) == ["2.0"]
    settle_batch(own, State.QUARANTINED, reason="invalid")
    assert close(process(ledger, **{A: "second"}), own.destinations.find(A)) == 2
    assert {state for _, _, state in rows(ledger)["first"]} == {"withdrawn"}


def test_many_are_handed_over_portion_by_portion(ledger):
    own = process(ledger, **{A: "first"})
    own.arrivals.record([arrival(f"{number}") for number in range(450)])
    now = process(ledger, **{A: "second"})
    assert hand_over(now, own.destinations.find(A), A) == 450
    assert len(rows(ledger)["second"]) == 450
