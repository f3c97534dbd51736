"""What arrives, and how far an Orthanc was read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.reporting.losses import acknowledge, losses, lost_changes_of
from orthanc_gcp.ledger.rows import Outcome
from orthanc_gcp.ledger.schema import Priority, State, transfers
from tests.support.ledgers import ORTHANC, A, arrival, claim, claimed_rows, settle_batch, states
from tests.support.transfers import events_of


def test_a_newer_version_takes_the_row_from_its_batch(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    (old,) = claimed_rows(ledger, "b")
    ledger.arrivals.record([arrival("1", change_seq=2, size_bytes=50)])
    assert states(ledger) == {"1": State.WAITING}
    ledger.queue.settle("b", [Outcome(old.id, State.ACKNOWLEDGED, sha256="old")])
    assert states(ledger) == {"1": State.WAITING}
    claim(ledger, "c")
    (row,) = claimed_rows(ledger, "c")
    assert (row.size_bytes, row.sha256) == (50, None)


def test_what_was_read_before_changes_nothing(ledger):
    ledger.arrivals.record([arrival("1", change_seq=7)])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    for change in (7, 3, 0):
        ledger.arrivals.record([arrival("1", change_seq=change)])
        assert states(ledger) == {"1": State.ACKNOWLEDGED}


def test_a_later_reception_is_news_in_a_replaced_index(ledger):
    ledger.arrivals.record([arrival("1", change_seq=7)])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    ledger.arrivals.record([arrival("1", change_seq=2, received_at=6000.0)])
    assert states(ledger) == {"1": State.WAITING}


def test_what_arrives_after_the_clock_was_set_back_is_newer_than_what_was_read_before(ledger):
    uids = {"sop_instance_uid": "1.1", "series_instance_uid": "1.2", "study_instance_uid": "1.3"}
    ledger.arrivals.record([arrival("1", change_seq=7, received_at=6000.0, **uids)])
    others = [
        arrival("late", change_seq=5, received_at=2000.0, **uids),
        arrival("corrected", change_seq=8, received_at=3000.0, **uids),
        arrival("once more", change_seq=9, received_at=4000.0, **uids),
        arrival("another", change_seq=10, received_at=4000.0),
    ]
    ledger.arrivals.record(others, set_back=True)
    with ledger.reading() as connection:
        found = connection.execute(sql.select(transfers.c.orthanc_id, transfers.c.received_at))
        assert dict(map(tuple, found)) == {
            "1": 6000.0,
            "late": 2000.0,
            "corrected": 6001.0,
            "once more": 6002.0,
            "another": 4000.0,
        }


def test_held_instances_wait_for_their_study(ledger):
    ledger.arrivals.record(
        [arrival("1", held_for_orthanc_id="s"), arrival("2", held_for_orthanc_id="t")]
    )
    assert claim(ledger) == []
    assert sorted(ledger.arrivals.held(ORTHANC)) == ["s", "t"]
    ledger.arrivals.release(ORTHANC, ["s"])
    assert claim(ledger) == ["1"]
    assert ledger.arrivals.held(ORTHANC) == ["t"]


def test_a_gap_and_what_was_unreadable_are_remembered(ledger):
    assert not ledger.arrivals.has_gap(ORTHANC)
    ledger.arrivals.open_gap(ORTHANC)
    ledger.arrivals.open_gap(ORTHANC)
    assert ledger.arrivals.has_gap(ORTHANC)
    ledger.arrivals.close_gap(ORTHANC)
    assert not ledger.arrivals.has_gap(ORTHANC)
    assert ledger.arrivals.unreadable(ORTHANC) == []
    assert ledger.arrivals.change_unreadable(ORTHANC, ["1", "2"]) == 2
    assert ledger.arrivals.change_unreadable(ORTHANC, ["1", "3"]) == 3
    assert ledger.arrivals.unreadable(ORTHANC) == ["2", "1", "3"], "the last that was tried"
    assert ledger.arrivals.change_unreadable(ORTHANC, ["2"], ["2", "1"]) == 2
    assert ledger.arrivals.unreadable(ORTHANC) == ["3", "2"]
    ledger.arrivals.change_unreadable(ORTHANC, [], ["3", "2"])
    assert ledger.arrivals.unreadable(ORTHANC) == []


def test_an_index_is_read_from_where_reading_has_ended(ledger, clock):
    cursor = ledger.indexes.begin(ORTHANC, 7, 5.0)
    clock.now += 1
    ledger.arrivals.record([arrival("1")], replace(cursor, seq=9))
    assert ledger.indexes.get(ORTHANC) == replace(cursor, seq=9, seen_at=clock.now)
    assert states(ledger) == {"1": State.WAITING}


def test_only_what_is_new_counts(ledger):
    assert ledger.arrivals.record([arrival("1"), arrival("2")]) == 2
    assert ledger.arrivals.record([arrival("1"), arrival("3")]) == 1
    assert ledger.arrivals.known(ORTHANC, ["1", "3", "4"]).keys() == {"1", "3"}
    assert ledger.arrivals.known("another", ["1"]) == {}


def test_another_version_that_was_seen_is_to_be_sent(ledger):
    """Its change is gone: only the UUID of its file tells."""
    ledger.arrivals.record([arrival("1", change_seq=7, attachment_uuid="a")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    same, other = (arrival("1", change_seq=0, attachment_uuid=uuid) for uuid in "ab")
    assert ledger.arrivals.record([other]) == 0
    assert ledger.arrivals.record([same], other_versions=True) == 0
    assert ledger.arrivals.record([other], other_versions=True) == 1
    assert states(ledger) == {"1": State.WAITING}
    assert ledger.arrivals.known(ORTHANC, ["1"])["1"].files == {"b"}


@pytest.mark.parametrize("state", [State.ACKNOWLEDGED, State.CONFIRMED])
def test_what_orthanc_has_stored_anew_is_in_the_way_of_nothing_that_arrives(ledger, clock, state):
    """Its file has another UUID, and it was received when it was received before."""
    one = arrival("old", change_seq=7, attachment_uuid="a")
    ledger.arrivals.record([one])
    settle_sent(ledger, state)
    anew = replace(one, change_seq=0, attachment_uuid="b")
    assert ledger.arrivals.record([anew], other_versions=True) == 1
    ledger.arrivals.record([arrival("new", change_seq=8)])
    ledger.queue.give_up(A, ORTHANC, clock.now + 1)
    assert states(ledger) == {"old": State.WAITING, "new": State.QUARANTINED}
    ledger.arrivals.record([arrival("newer", change_seq=9)])
    assert claim(ledger, "c", most_instances=1) == ["newer"]
    assert claim(ledger, "d", most_instances=1) == ["old"]


def settle_sent(ledger, state):
    claim(ledger, "sent")
    rows = [row.id for row in claimed_rows(ledger, "sent")]
    settle_batch(ledger, State.ACKNOWLEDGED, batch="sent", sha256="d")
    if state == State.CONFIRMED:
        ledger.confirmations.confirm(dict.fromkeys(rows, ledger.now()))


def priorities(ledger):
    with ledger.reading() as connection:
        found = connection.execute(sql.select(transfers.c.orthanc_id, transfers.c.priority))
        return {name: Priority(priority) for name, priority in found}


def test_what_is_sent_anew_goes_behind_only_where_it_was_sent_as_received_then(ledger):
    """What was demanded stays that, and so does what somebody demands now."""
    first = {
        name: arrival(name, change_seq=7, attachment_uuid="a")
        for name in ("unsent", "received anew", "asked for", "demanded before")
    }
    first["demanded before"] = replace(first["demanded before"], priority=Priority.DEMANDED)
    ledger.arrivals.record([one for name, one in first.items() if name != "unsent"])
    for _ in range(2):  # the demand is sent by itself
        settle_sent(ledger, State.CONFIRMED)
    ledger.arrivals.record([first["unsent"]])
    anew = {name: replace(one, attachment_uuid="b") for name, one in first.items()}
    for name, more in {
        "received anew": {"received_at": first["unsent"].received_at + 1},
        "asked for": {"priority": Priority.DEMANDED},
        "demanded before": {"priority": Priority.LIVE},
    }.items():
        anew[name] = replace(anew[name], **more)
    assert ledger.arrivals.record(list(anew.values()), other_versions=True) == 4
    assert priorities(ledger) == {
        "unsent": Priority.LIVE,
        "received anew": Priority.LIVE,
        "asked for": Priority.DEMANDED,
        "demanded before": Priority.DEMANDED,
    }


def test_changes_are_lost_once(ledger):
    """A worker that was killed says it again."""
    for last in (9, 9, 10):
        ledger.arrivals.lose("a", "o", 5, last, 4)
    assert lost_changes_of(ledger) == {"a": 8}


def lose_versions(ledger, number, *, at=5000.0, **more):
    """Of some instances a restored index has older versions than those that wait."""
    names = [f"{at}-{one}" for one in range(number)]
    ledger.indexes.undo(ORTHANC, at - 5, at + 5)
    for other, received_at in enumerate((at, at - 10)):
        versions = {"received_at": received_at, "attachment_uuid": f"{other}"}
        found = [arrival(name, change_seq=0, **versions, **more) for name in names]
        ledger.arrivals.record(found, other_versions=True)


@pytest.mark.parametrize("odd", [{}, {"study_instance_uid": ".."}])
def test_each_newer_version_that_is_lost_counts(ledger, odd):
    """No change has reported them, as a comparison has found them: no number tells them apart."""
    lose_versions(ledger, 3, **odd)
    assert lost_changes_of(ledger) == {A: 3}
    lose_versions(ledger, 2, at=6000.0, **odd)
    assert lost_changes_of(ledger) == {A: 5}
    acknowledge(ledger, losses(ledger).listed, by="somebody")
    assert lost_changes_of(ledger) == {}
    lose_versions(ledger, 2, at=7000.0, **odd)
    assert lost_changes_of(ledger) == {A: 2}


def test_a_newer_version_is_lost_when_another_takes_its_place(ledger):
    """A demand does not: what waits is looked at again before it is sent."""
    one = arrival("1", attachment_uuid="new")
    ledger.indexes.undo(ORTHANC, one.received_at, one.received_at)
    older = replace(one, change_seq=0, received_at=4000.0, attachment_uuid="old")
    ledger.arrivals.record([one])
    for _ in range(2):
        ledger.arrivals.record([replace(older, priority=Priority.DEMANDED)])
        assert lost_changes_of(ledger) == {}
    for _ in range(2):
        ledger.arrivals.record([older], other_versions=True)
        assert lost_changes_of(ledger) == {A: 1}


def test_what_was_withdrawn_and_is_there_again_waits(ledger):
    ledger.arrivals.record([arrival("1"), arrival("2"), arrival("3")])
    claim(ledger)
    settle_batch(ledger, State.WITHDRAWN, reason="deleted", absent_since=5.0)
    assert ledger.arrivals.reopen("another", ["1"]) == 0
    assert ledger.arrivals.reopen(ORTHANC, ["1", "2", "4"]) == 2
    assert ledger.arrivals.reopen(ORTHANC, ["1"]) == 0
    assert sorted(claim(ledger, "c")) == ["1", "2"]
    assert [row.absent_since for row in claimed_rows(ledger, "c")] == [None, None]
    assert len(events_of(ledger, "returned")) == 2


def test_a_demand_opens_what_was_closed_and_waits_for_nothing(ledger):
    ledger.arrivals.record([arrival("1", held_for_orthanc_id="s")])
    assert ledger.arrivals.record([arrival("1", priority=Priority.DEMANDED)]) == 1
    assert claim(ledger) == ["1"]
    settle_batch(ledger, State.QUARANTINED, reason="invalid")
    assert ledger.arrivals.record([arrival("1", priority=Priority.DEMANDED)]) == 1
    assert states(ledger) == {"1": State.WAITING}


LEFT_ALONE = [
    (priority, state)
    for priority in Priority
    for state in (None, State.SENDING, State.DELAYED, State.ACKNOWLEDGED, State.CONFIRMED)
    if priority <= Priority.DEMANDED or state not in (None, State.DELAYED)
]


@pytest.mark.parametrize(("priority", "state"), LEFT_ALONE)
def test_what_is_in_hand_when_its_own_change_is_read_goes_on(ledger, priority, state):
    """As it was demanded, or found by a comparison, before: it is not sent twice."""
    first = arrival("1", change_seq=0, attachment_uuid="a", priority=priority)
    ledger.arrivals.record([first])
    if state is not None:
        claim(ledger)
    if state not in (None, State.SENDING):
        settle_batch(ledger, state, sha256="d")
    before = row_of(ledger)
    own = replace(first, priority=Priority.LIVE, held_for_orthanc_id="s", change_seq=5)
    assert ledger.arrivals.record([arrival("2"), own]) == 1
    assert row_of(ledger) == {**before, "change_seq": 5}
    assert ledger.arrivals.record([replace(own, change_seq=3)]) == 0
    assert row_of(ledger)["change_seq"] == 5
    assert ledger.arrivals.record([replace(own, attachment_uuid="b", change_seq=6)]) == 1
    assert row_of(ledger)["state"] == State.HELD, "another version is news"


@pytest.mark.parametrize("state", [State.QUARANTINED, State.WITHDRAWN, State.LOST])
def test_what_is_over_begins_anew_when_its_own_change_is_read(ledger, state):
    first = arrival("1", change_seq=0, attachment_uuid="a", priority=Priority.DEMANDED)
    ledger.arrivals.record([first])
    claim(ledger)
    settle_batch(ledger, state)
    own = replace(first, priority=Priority.LIVE, change_seq=5)
    assert ledger.arrivals.record([own]) == 1
    assert states(ledger) == {"1": State.WAITING}


def test_what_waits_for_a_backfill_goes_at_once_when_its_own_change_is_read(ledger):
    first = arrival("1", change_seq=0, attachment_uuid="a", priority=Priority.BACKFILL)
    ledger.arrivals.record([first])
    assert ledger.arrivals.record([replace(first, priority=Priority.LIVE, change_seq=5)]) == 1
    assert row_of(ledger)["priority"] == Priority.LIVE


def row_of(ledger, name="1"):
    with ledger.reading() as connection:
        query = sql.select(transfers).where(transfers.c.orthanc_id == name)
        return dict(connection.execute(query).one()._mapping)


ODD = ("", ".", "..", "1/2", "1\\2", "1\0", "1\n", "1\ud800")
LEVELS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


def test_what_no_request_can_name_is_in_quarantine_from_the_beginning(ledger, caplog):
    """Each with its reason, whatever a database makes of it; the others go."""
    odd = [
        arrival(f"{level}-{number}", **{level: uid})
        for level in LEVELS
        for number, uid in enumerate(ODD)
    ]
    good = [
        arrival("study_1", study_instance_uid="study_1"),
        arrival("a b", sop_instance_uid="a b"),
    ]
    assert ledger.arrivals.record([*odd, *good]) == len(good)
    assert claim(ledger) == ["study_1", "a b"]
    with ledger.reading() as connection:
        rows = connection.execute(
            sql.select(transfers).where(transfers.c.state == State.QUARANTINED)
        ).all()
    assert len(rows) == len(odd)
    for row in rows:
        assert row.reason == "uid"
        assert "a store could never be asked for it" in row.detail
        assert row.detail.isprintable()
    assert len(events_of(ledger, "quarantined")) == len(odd)
    assert len(caplog.records) == len(odd)
    assert "\0" not in caplog.text


def test_what_another_orthanc_holds_too_waits_for_that_one(ledger):
    held = arrival("1", held_for_orthanc_id="s")
    ledger.arrivals.record([held, replace(held, source="other")])
    ledger.arrivals.release("other", ["s"])
    assert ledger.arrivals.held(ORTHANC) == ["s"]
    assert ledger.arrivals.held("other") == []


def test_what_no_request_can_name_is_not_held_and_is_written_down_once(ledger):
    one = arrival("1", sop_instance_uid="..", held_for_orthanc_id="s")
    for _ in range(3):
        ledger.arrivals.record([one])
    ledger.arrivals.release(ORTHANC, ["s"])
    assert ledger.arrivals.held(ORTHANC) == []
    assert states(ledger) == {"1": State.QUARANTINED}
    assert len(events_of(ledger, "quarantined")) == 1


def test_a_row_in_quarantine_for_its_uids_begins_anew_with_others(ledger):
    ledger.arrivals.record([arrival("1", sop_instance_uid="..")])
    ledger.arrivals.record([arrival("1", change_seq=2)])
    assert states(ledger) == {"1": State.WAITING}
    with ledger.reading() as connection:
        (row,) = connection.execute(sql.select(transfers))
    assert (row.reason, row.detail) == (None, None)
