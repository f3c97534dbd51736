"""What is open of an index whose Orthanc stays away: shown, handed over, or closed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.intake.identity import source_of
from orthanc_gcp.custody.intake.open_transfers import (
    SEEN_WITHIN,
    close,
    hand_over,
    open_transfers,
    separate,
)
from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.custody.reporting.receipts import receipts
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.orthanc.resources import OrthancSource, seconds_of
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.ledgers import A, arrival, claim, meanwhile, states
from tests.support.orthanc import Orthanc
from tests.support.site import make_study
from tests.support.transfers import confirm, events_of, settle

GONE = "gone"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}, plugins=()) as orthanc:
        yield orthanc


@pytest.fixture
def source(orthanc):
    return OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "storage")


@pytest.fixture
def held(orthanc, source):
    """Instances that the Orthanc has, as rows of one that is gone."""
    ids = [orthanc.json("POST", "/instances", file)["ID"] for file in make_study(instances=3)]
    return [
        arrival(
            one.orthanc_id,
            source=GONE,
            study_instance_uid=one.study_instance_uid,
            series_instance_uid=one.series_instance_uid,
            sop_instance_uid=one.sop_instance_uid,
            size_bytes=one.size_bytes,
        )
        for one in source.describe(ids)
    ]


def rows(ledger):
    with ledger.reading() as connection:
        found = connection.execute(sql.select(transfers).order_by(transfers.c.id)).all()
    return [(row.source, row.state, row.reason) for row in found]


def test_what_is_open_is_shown_with_its_age_and_why(ledger, clock):
    ledger.indexes.begin("here", 0, 5.0)
    ledger.arrivals.record([arrival("1", source="here"), arrival("2", source=GONE)])
    clock.now += 60
    gone, here = open_transfers(ledger)
    assert (gone.source, gone.instances, gone.oldest_seconds, gone.seen_at) == (GONE, 1, 60, None)
    assert "no Orthanc" in gone.reason
    assert (here.source, here.instances, here.reason) == ("here", 1, None)
    clock.now += SEEN_WITHIN
    assert all(one.reason for one in open_transfers(ledger))


def test_what_another_orthanc_has_is_handed_over(ledger, source, held):
    other = arrival("of-nobody", source=GONE)
    ledger.arrivals.record([*held, other])
    with ledger.writing() as connection:  # another size: not the same bytes
        mine = transfers.c.orthanc_id == held[2].orthanc_id
        connection.execute(transfers.update().where(mine).values(size_bytes=5))
    to = source_of(ledger, source)
    assert hand_over(ledger, source, GONE, to) == 2
    moved, left = (to, State.WAITING, None), (GONE, State.WAITING, None)
    assert rows(ledger) == [moved, moved, left, left]
    assert len(events_of(ledger, "handed over")) == 2
    assert hand_over(ledger, source, GONE, to) == 0


def test_what_the_other_sends_anyway_is_not_sent_twice(ledger, source, held):
    to = source_of(ledger, source)
    ledger.arrivals.record([held[0], replace(held[0], source=to)])
    assert hand_over(ledger, source, GONE, to) == 1
    assert rows(ledger) == [
        (GONE, State.WITHDRAWN, "handed_over"),
        (to, State.WAITING, None),
    ]


@pytest.mark.parametrize("received_at", [-5.0, 5.0])
def test_a_receipt_is_complete_when_the_other_has_confirmed_it(ledger, source, held, received_at):
    """Whichever of the two has received it first."""
    one, to = held[0], source_of(ledger, source)
    own = replace(one, source=to, received_at=one.received_at + received_at)
    ledger.arrivals.record([one, own])
    (before,) = receipts(ledger, one.study_instance_uid)
    hand_over(ledger, source, GONE, to)
    settle(ledger, State.QUARANTINED, account=A, source=to)
    (failed,) = receipts(ledger, one.study_instance_uid)
    retry(ledger, A)
    confirm(ledger, account=A, source=to)
    (after,) = receipts(ledger, one.study_instance_uid)
    assert (before.complete, failed.complete, after.complete) == (False, False, True)
    assert after.as_json()["States"] == {"withdrawn": 1, "confirmed": 1}


def test_what_is_closed_is_not_complete(ledger, source, held):
    one, to = held[0], source_of(ledger, source)
    ledger.arrivals.record([one, replace(one, source=to)])
    close(ledger, GONE)
    confirm(ledger, account=A, source=to)
    (receipt,) = receipts(ledger, one.study_instance_uid)
    assert not receipt.complete


@pytest.mark.parametrize("state", [State.WITHDRAWN, State.LOST])
def test_what_the_other_does_not_send_any_more_is_sent_by_it(ledger, source, held, state):
    """As it was closed, or was not there for a while."""
    to = source_of(ledger, source)
    ledger.arrivals.record([held[0], replace(held[0], source=to)])
    with ledger.writing() as connection:
        ended = transfers.update().where(transfers.c.source == to)
        connection.execute(ended.values(state=state, reason="closed"))
    assert hand_over(ledger, source, GONE, to) == 1
    assert rows(ledger) == [
        (GONE, State.WITHDRAWN, "handed_over"),
        (to, State.WAITING, None),
    ]
    assert ledger.queue.ready(A, to, list(Priority), 9).instances == 1


def test_what_a_worker_writes_down_meanwhile_is_handed_over(postgresql_ledger, source, held):
    """The other Orthanc receives it in the very moment."""
    ledger, to = postgresql_ledger, source_of(postgresql_ledger, source)
    ledger.arrivals.record(held)
    own = [replace(one, source=to) for one in held]

    def receive(_connection, _cursor, statement, *_more):
        if statement.startswith(f"UPDATE {transfers.name}") and own:
            ledger.arrivals.record([own.pop()])

    sql.event.listen(ledger.engine, "before_cursor_execute", receive)
    assert hand_over(ledger, source, GONE, to) == 3
    moved, sent = (GONE, State.WITHDRAWN, "handed_over"), (to, State.WAITING, None)
    assert rows(ledger) == [moved] * 3 + [sent] * 3


def test_what_the_other_begins_to_send_meanwhile_is_not_taken_from_it(
    postgresql_ledger, source, held
):
    ledger, to = postgresql_ledger, source_of(postgresql_ledger, source)
    ledger.arrivals.record([held[0], replace(held[0], source=to)])
    own = transfers.update().where(transfers.c.source == to)
    with ledger.writing() as connection:
        connection.execute(own.values(state=State.WITHDRAWN, reason="closed"))
    meanwhile(
        ledger,
        lambda connection: connection.execute(own.values(state=State.SENDING, reason=None)),
        lambda: hand_over(ledger, source, GONE, to),
    )
    assert rows(ledger) == [
        (GONE, State.WITHDRAWN, "handed_over"),
        (to, State.SENDING, None),
    ]


def test_what_is_closed_is_not_sent(ledger):
    ledger.arrivals.record([arrival(str(number)) for number in range(3)])
    assert len(claim(ledger, most_instances=1)) == 1  # it is being sent
    assert close(ledger, "orthanc") == 2
    assert sorted(state for _, state, _ in rows(ledger)) == ["sending", "withdrawn", "withdrawn"]
    assert len(events_of(ledger, "closed")) == 2
    assert close(ledger, "orthanc") == 0


def test_what_could_not_be_read_of_what_is_closed_is_not_waited_for(ledger, caplog):
    """It has no row, and nobody can read it any more."""
    for source in (GONE, "here"):
        ledger.arrivals.change_unreadable(source, ["1", "2"])
    assert close(ledger, GONE) == 0
    assert ledger.arrivals.unreadable(GONE) == []
    assert ledger.arrivals.unreadable("here") == ["1", "2"]
    assert f"2 instances of {GONE}" in caplog.text
    caplog.clear()
    assert close(ledger, GONE) == 0
    assert caplog.text == ""


def test_what_it_was_the_newest_version_of_is_sent_in_its_place(ledger):
    old = arrival("old", sop_instance_uid="1.2", received_at=1.0)
    ledger.arrivals.record([old])
    ledger.arrivals.record([replace(old, source=GONE, orthanc_id="new", received_at=2.0)])
    with ledger.writing() as connection:
        mine = transfers.update().where(transfers.c.source != GONE)
        connection.execute(mine.values(state=State.SUPERSEDED, reason="superseded"))
    assert close(ledger, GONE) == 1
    assert claim(ledger) == ["old"]


def test_no_older_version_of_what_is_closed_is_left(ledger):
    """Each is the newest again when the ones after it are closed, and has a lower number."""
    for at in (1.0, 2.0, 3.0):
        ledger.arrivals.record([arrival(f"{at}", sop_instance_uid="1.2", received_at=at)])
    assert claim(ledger) == ["3.0"]
    ledger.queue.requeue_claims_of("w")
    assert sorted(states(ledger).values()) == ["superseded", "superseded", "waiting"]
    assert close(ledger, "orthanc") == 3
    assert set(states(ledger).values()) == {"withdrawn"}
    assert len(events_of(ledger, "closed")) == 3
    assert close(ledger, "orthanc") == 0


def test_only_a_copy_is_followed_by_itself(ledger, source, held):
    to = source_of(ledger, source)
    with pytest.raises(OrthancError, match="not a copy"):
        separate(ledger, source)
    cursor = ledger.indexes.get(to)
    own = cursor.marks[-1]
    # The original went on: what it read last is not here.
    ahead = replace(own, seq=10**6)
    ledger.arrivals.record([], replace(cursor, seq=10**6, marks=(ahead, own)))
    Patients(ledger).add(to, {"patient": {"study"}}, {})
    name = separate(ledger, source)
    assert [one.orthanc_id for one in Patients(ledger).page(name, "", 9)] == ["patient"]
    assert name.startswith(f"{to}#")
    begun = ledger.indexes.get(name)
    assert (begun.seq, begun.since) == (own.seq, seconds_of(own.date))
    assert source_of(ledger, source) == name
