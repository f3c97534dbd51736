"""What Orthanc, the ledger and a store say of the instances of one study, put side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.custody.audit.comparison import (
    OVERWRITTEN,
    SUPERSEDED_UNCONFIRMED,
    UNREAD,
    Held,
    Recorded,
    Scope,
    Sides,
    compare,
    confirmed,
    doubtful,
)
from orthanc_gcp.custody.audit.findings import Category, Uids
from orthanc_gcp.custody.verification.read_back import SEARCH_LAG
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.ledger.schema import Priority, State
from orthanc_gcp.reasons import TransferReason

A, ME, OTHER = "a", "mine", "other"
BEGAN = 10_000.0
SCOPE = Scope(BEGAN, ME, since=1000.5)
NOW = BEGAN + 100


def uids(number):
    return Uids("1", "1.1", f"1.1.{number}")


def held(number=1, name="", *, wanted=True, received=5000.0, file="f"):
    accounts = None if wanted is None else frozenset({A, "b"} if wanted else {"b"})
    return Held(name or f"o{number}", uids(number), 10, file, received, accounts)


def row(number=1, state=State.CONFIRMED, name="", **more):
    at = more.pop("acknowledged_at", 5001.0)
    change, queued = more.pop("change_seq", 0), more.pop("queued_at", BEGAN)
    usual = Transfer(
        id=number,
        account=A,
        source=ME,
        orthanc_id=name or f"o{number}",
        study_instance_uid="1",
        series_instance_uid="1.1",
        sop_instance_uid=f"1.1.{number}",
        size_bytes=10,
        attachment_uuid="f",
        sha256="d",
        state=state,
        attempts=0,
        max_batch_instances=None,
        replace=False,
        received_at=5000.0,
        reason=None,
        priority=Priority.LIVE,
    )
    return Recorded(replace(usual, **more), at, change, queued)


def look(holds=(), rows=(), listed=(), scope=SCOPE, **more):
    listed = {uids(one) if isinstance(one, int) else one for one in listed}
    return compare(Sides(A, list(holds), list(rows), listed=listed, **more), scope, NOW)


def kinds(found):
    return [(one.category, one.uids.sop_instance_uid) for one in found.findings]


def test_what_is_everywhere():
    found = look([held()], [row()], [1])
    assert found.findings == []
    (stored,) = found.stored
    assert (stored.row, stored.held) == (row(), held())


def test_what_orthanc_has_deleted_since():
    (stored,) = look([], [row()], [1]).stored
    assert stored.held is None


@pytest.mark.parametrize("listed", [[], [1]])
def test_what_nobody_has_written_down(listed):
    found = look([held()], [], listed)
    (one,) = found.findings
    assert one.category is Category.NOT_IN_LEDGER
    assert (one.orthanc_id, one.in_orthanc, one.in_store) == ("o1", True, bool(listed))
    assert found.stored == []


def test_what_was_received_before_following_began():
    assert kinds(look([held(received=999.0)])) == [(Category.BEFORE_FOLLOWING, "1.1.1")]
    in_that_second = held(received=1000.0)  # Orthanc records whole ones
    assert kinds(look([in_that_second])) == [(Category.NOT_IN_LEDGER, "1.1.1")]
    backfilled = replace(SCOPE, since=None)
    found = look([held(received=999.0)], scope=backfilled)
    assert kinds(found) == [(Category.NOT_IN_LEDGER, "1.1.1")]


def test_what_arrives_while_the_audit_runs():
    assert look([held(received=BEGAN)]).findings == []
    late = row(1, State.WAITING, received_at=BEGAN)
    assert look([held(received=BEGAN)], [late]).findings == []
    early = row(1, State.WAITING, received_at=BEGAN, queued_at=BEGAN - 1)
    assert kinds(look([], [early])) == [(Category.WAITING, "1.1.1")], "a clock goes before"
    over = held(received=BEGAN, file="g")
    found = look([over], [row()], [])
    assert (found.findings, found.stored) == ([], [])


@pytest.mark.parametrize("wanted", [False, None])
def test_what_no_rule_wants(wanted):
    found = look([held(wanted=wanted)], [], [1])
    assert (found.findings, found.stored) == ([], [])


def test_what_was_sent_on_demand_counts_though_no_rule_wants_it():
    assert kinds(look([held(wanted=False)], [row()])) == [(Category.MISSING, "1.1.1")]


@pytest.mark.parametrize(
    ("state", "category"),
    [
        (State.HELD, Category.WAITING),
        (State.WAITING, Category.WAITING),
        (State.DELAYED, Category.WAITING),
        (State.SENDING, Category.WAITING),
        (State.QUARANTINED, Category.QUARANTINED),
        (State.LOST, Category.LOST),
        (State.WITHDRAWN, Category.WITHDRAWN),
    ],
)
@pytest.mark.parametrize("listed", [[], [1]])
def test_what_the_ledger_says(state, category, listed):
    one = row(1, state, reason="why")
    (finding,) = look([], [one], listed).findings
    assert (finding.category, finding.reason) == (category, "why")
    assert (finding.in_orthanc, finding.in_store) == (False, bool(listed))
    assert finding.transfer == one.transfer


def test_what_was_withdrawn_and_is_there_again():
    deleted = row(1, State.WITHDRAWN, reason=TransferReason.DELETED)
    assert kinds(look([held()], [deleted])) == [(Category.NOT_IN_LEDGER, "1.1.1")]
    lost = row(1, State.WITHDRAWN, reason="recycled")
    assert kinds(look([held()], [lost])) == [(Category.NOT_IN_LEDGER, "1.1.1")]
    for reason in (TransferReason.CLOSED, TransferReason.HANDED_OVER):
        ended = row(1, State.WITHDRAWN, reason=reason)
        assert kinds(look([held()], [ended])) == [(Category.WITHDRAWN, "1.1.1")]


def test_a_row_that_is_damaged():
    (one,) = look([], [row(1, "nonsense")], [1]).findings
    assert (one.category, one.reason) == (Category.QUARANTINED, TransferReason.DAMAGED)


def test_what_was_acknowledged_a_moment_ago():
    young = row(1, State.ACKNOWLEDGED, acknowledged_at=NOW - SEARCH_LAG + 1)
    assert kinds(look([], [young])) == [(Category.WAITING, "1.1.1")]
    assert look([], [young], [1]).findings == []
    old = replace(young, acknowledged_at=NOW - SEARCH_LAG - 1)
    assert kinds(look([], [old])) == [(Category.MISSING, "1.1.1")]


@pytest.mark.parametrize(
    "doubt",
    [{"stored_sha256": "unsure"}, {"stored_sha256": "of another version"}, {"replace": True}],
    ids=str,
)
def test_what_the_store_may_have_of_another_version_is_proved_by_no_search(doubt):
    sent = row(1, State.ACKNOWLEDGED, **doubt)
    found = look([held()], [sent], [1])
    (one,) = found.findings
    assert (one.category, one.reason, one.in_store) == (Category.WAITING, UNREAD, True)
    assert found.stored == []
    assert kinds(look([held()], [sent], [])) == [(Category.MISSING, "1.1.1")]
    found = look([held()], [sent], [1], replace(SCOPE, reads_bytes=True))
    assert (found.findings, len(found.stored)) == ([], 1), "what is read proves it"
    late = row(1, State.ACKNOWLEDGED, received_at=BEGAN, **doubt)
    found = look([], [late], [1])
    assert (found.findings, found.stored) == ([], []), "it has come since the audit began"
    for certain in row(1, State.CONFIRMED, **doubt), row(1, State.ACKNOWLEDGED, stored_sha256="d"):
        assert look([held()], [certain], [1]).findings == []


def test_the_same_sop_instance_uid_elsewhere():
    elsewhere = Uids("1", "1.2", "1.1.1")
    found = look([held()], [row()], [elsewhere])
    assert [(one.category, one.uids) for one in found.findings] == [
        (Category.MISSING, uids(1)),
        (Category.UNKNOWN, elsewhere),
    ]


def test_what_orthanc_has_received_anew_waits_to_be_read():
    (one,) = look([held(file="g")], [row()], []).findings
    assert (one.category, one.reason) == (Category.WAITING, OVERWRITTEN)
    for file in ("", "f"):  # older Orthancs do not say it
        assert look([held(file=file)], [row()], [1]).findings == []


def test_a_superseded_version_is_judged_by_the_newer():
    old = row(1, State.SUPERSEDED, "old", received_at=4000.0)
    new = row(2, name="new", sop_instance_uid="1.1.1")
    holds = [held(1, "old"), held(1, "new")]
    assert kinds(look(holds, [old, new], [1])) == [(Category.SUPERSEDED, "1.1.1")]
    assert kinds(look(holds, [old, new], [])) == [
        (Category.SUPERSEDED, "1.1.1"),
        (Category.MISSING, "1.1.1"),
    ]


def test_a_version_that_one_of_another_account_supersedes():
    """Both accounts are the same store."""
    old = row(1, State.SUPERSEDED, received_at=4000.0)
    of_other = {"confirmed": [row(2, account="b", sop_instance_uid="1.1.1")]}
    assert kinds(look([held()], [old], [1], **of_other)) == [(Category.SUPERSEDED, "1.1.1")]
    gone = look([held()], [old], [], **of_other)
    assert kinds(gone) == [(Category.SUPERSEDED, "1.1.1"), (Category.MISSING, "1.1.1")]
    for listed in ([], [1]):
        _, waits = look([held()], [old], listed).findings
        assert (waits.category, waits.reason) == (Category.WAITING, SUPERSEDED_UNCONFIRMED)


def test_a_superseded_version_is_not_there_where_an_older_one_is_confirmed():
    old = row(1, name="old", received_at=4000.0, sha256="old", acknowledged_at=4001.0)
    new = row(2, State.SUPERSEDED, "new", sop_instance_uid="1.1.1", acknowledged_at=None)
    newest = row(3, account="b", sop_instance_uid="1.1.1", received_at=6000.0, sha256="newest")
    of_other = replace(old, transfer=replace(old.transfer, account="b"))
    for rows, confirmed_for_others in ([old, new], []), ([new], [of_other]):
        found = look([held(1, "new")], rows, [1], confirmed=confirmed_for_others)
        waits = found.findings[-1]
        assert (waits.category, waits.reason) == (Category.WAITING, SUPERSEDED_UNCONFIRMED)
        assert found.stored == []
        others = [*confirmed_for_others, newest]
        assert not any(
            one.differs for one in look([held(1, "new")], rows, [1], confirmed=others).findings
        )


def test_what_came_from_the_store_is_older_than_what_was_sent_there():
    came = row(1, State.SUPERSEDED, "came", received_at=6000.0, sha256="came")
    sent = row(2, name="sent", sop_instance_uid="1.1.1", acknowledged_at=6001.0)
    assert kinds(look([held(1, "came")], [came, sent], [1])) == [(Category.SUPERSEDED, "1.1.1")]


def test_two_resources_of_one_study_of_which_one_was_never_written_down():
    new = row(2, name="new", sop_instance_uid="1.1.1")
    found = look([held(1, "old"), held(1, "new")], [new], [1])
    assert kinds(found) == [(Category.NOT_IN_LEDGER, "1.1.1")]
    assert found.stored == [], "of the instance not all is as it should be"


def test_identical_copies_of_several_orthancs_are_one_instance():
    theirs = row(2, name="x", source=OTHER, sop_instance_uid="1.1.1", received_at=6000.0)
    assert len(look([held()], [row(), theirs], [1]).stored) == 1
    (finding,) = look([held()], [row(), theirs]).findings
    assert finding.transfer == row().transfer, "that which can be sent again"
    others = replace(theirs, transfer=replace(theirs.transfer, sha256="other"))
    (finding,) = look([held()], [row(), others]).findings
    assert finding.transfer == others.transfer, "the newest"


def test_the_row_of_another_orthanc_is_none_of_this():
    found = look([held()], [row(source=OTHER)], [1])
    assert kinds(found) == [(Category.NOT_IN_LEDGER, "1.1.1")]


def test_while_a_newer_version_is_on_its_way_the_older_is_not_missing():
    new = row(2, State.WAITING, "new", sop_instance_uid="1.1.1", received_at=6000.0)
    assert kinds(look([], [row(), new])) == [(Category.WAITING, "1.1.1")]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (row(1, received_at=1.0), row(1, received_at=2.0)),
        (row(1), row(2)),
        (row(2, change_seq=1), row(1, change_seq=2)),
        (row(1, change_seq=9, source=OTHER), row(2)),
        (row(1, received_at=9.0, reason=TransferReason.RETRIEVED), row(2, received_at=1.0)),
    ],
)
def test_which_version_is_newer(older, newer):
    assert newer.is_newer(older)
    assert not older.is_newer(newer)


def test_what_was_to_be_sent_to_a_former_store():
    for state in (State.CONFIRMED, State.WAITING, State.QUARANTINED):
        former = [(row(1, state), "projects/p")]
        (one,) = look([held()], former=former).findings
        assert (one.category, one.reason) == (Category.FORMER_STORE, f"{state} in projects/p")
        assert (one.in_orthanc, one.differs) == (True, True)
        (one,) = look([], former=former).findings
        assert (one.in_orthanc, one.differs) == (False, False), "it is history"
        assert look([held()], [row()], [1], former=former).findings == []
    assert look([held(wanted=False)], former=former).findings[0].differs, "it was sent on demand"
    of_another = row(2, State.WITHDRAWN, "o2", source=OTHER, sop_instance_uid="1.1.1")
    _, one = look([held()], [of_another], former=[(row(), "projects/p")]).findings
    assert one.differs, "that of another Orthanc does not stand for it"
    void = [(row(1, State.WITHDRAWN), "projects/p")]
    assert kinds(look([held()], former=void)) == [(Category.NOT_IN_LEDGER, "1.1.1")]
    superseded = [(row(1, State.SUPERSEDED), "projects/p")]
    assert look([held()], former=superseded).findings == []


@pytest.mark.parametrize(
    ("version", "differs"),
    [
        ({"received_at": 20.0, "sha256": "b"}, True),
        ({"received_at": 20.0, "sha256": None}, True),
        ({"received_at": 20.0, "sha256": "a"}, False),
        ({"received_at": 10.0, "sha256": "b"}, False),
    ],
    ids=str,
)
def test_a_newer_version_that_only_a_former_store_was_to_get(version, differs):
    """Its PatientID was corrected, and the account had another store then."""
    present = row(1, name="old", received_at=10.0, sha256="a")
    newer = row(2, name="new", sop_instance_uid="1.1.1", **version)
    holds = [held(1, "old"), held(1, "new")]
    found = look(holds, [present], [1], former=[(newer, "projects/p")])
    expected = [(Category.FORMER_STORE, "1.1.1")] if differs else []
    assert kinds(found) == expected
    assert all(one.differs for one in found.findings)
    assert len(found.stored) == (0 if differs else 1)


def test_what_a_person_has_closed_for_a_former_store():
    closed = row(1, State.WITHDRAWN, reason=TransferReason.CLOSED)
    (one,) = look([held()], former=[(closed, "projects/p")]).findings
    assert (one.category, one.reason) == (Category.WITHDRAWN, "closed in projects/p")
    assert not one.differs
    newer = held(received=closed.transfer.received_at + 1)
    found = look([newer], former=[(closed, "projects/p")])
    assert (Category.NOT_IN_LEDGER, "1.1.1") in kinds(found), "nobody has closed that"


def test_what_another_account_has_in_the_same_store_is_known():
    assert kinds(look(listed=[1, 2], known={uids(1)})) == [(Category.UNKNOWN, "1.1.2")]


def test_a_second_look_keeps_what_both_have_seen():
    first = look([held(1), held(2)], [row(3)], [4])
    second = look([held(1), held(5)], [row(3), row(2, State.QUARANTINED)], [4, 6])
    assert sorted(kinds(confirmed(doubtful(first), second))) == [
        (Category.MISSING, "1.1.3"),
        (Category.NOT_IN_LEDGER, "1.1.1"),
        (Category.QUARANTINED, "1.1.2"),
        (Category.UNKNOWN, "1.1.4"),
    ]
    assert doubtful(look([], [row(1, State.WAITING)])) is None, "nothing comes of a second look"


INSTANCES = st.integers(1, 3)
HELD = st.builds(
    held,
    INSTANCES,
    st.sampled_from(["p", "q"]),
    wanted=st.booleans(),
    received=st.sampled_from([500.0, 5000.0, BEGAN + 1]),
    file=st.sampled_from(["f", "g", ""]),
)
ROWS = st.builds(
    lambda number, state, name, source, received, reason: row(
        number, state, name, source=source, received_at=received, reason=reason
    ),
    INSTANCES,
    st.sampled_from(list(State)),
    st.sampled_from(["p", "q"]),
    st.sampled_from([ME, OTHER]),
    st.sampled_from([4000.0, 5000.0]),
    st.sampled_from([None, TransferReason.DELETED]),
)


def name_of(one):
    """Orthanc's identifier is made of the UIDs and the PatientID."""
    return replace(one, orthanc_id=f"{one.orthanc_id}-{one.uids[2]}")


@given(
    st.lists(HELD, max_size=5, unique_by=lambda one: (one.orthanc_id, one.uids)),
    st.lists(
        ROWS,
        max_size=5,
        unique_by=lambda one: (one.transfer.source, one.transfer.orthanc_id, one.uids),
    ),
    st.sets(INSTANCES),
)
def test_no_difference_only_when_all_that_is_wanted_is_there(holds, rows, listed):
    holds = [name_of(one) for one in holds]
    rows = [
        replace(one, transfer=replace(one.transfer, id=number, orthanc_id=name))
        for number, one in enumerate(rows)
        for name in [f"{one.transfer.orthanc_id}-{one.uids[2]}"]
    ]
    found = look(holds, rows, listed)
    stored = {one.row.uids for one in found.stored}
    differing = {one.uids for one in found.findings if one.differs}
    assert not stored & differing
    assert stored <= {uids(one) for one in listed}
    mine = {one.transfer.orthanc_id: one for one in rows if one.transfer.source == ME}
    for one in holds:
        if one.accounts == {A, "b"} and SCOPE.since <= one.received_at < BEGAN:
            own = mine.get(one.orthanc_id)
            given_up = State.SUPERSEDED, State.WITHDRAWN, State.DISMISSED
            excused = own and own.transfer.state in given_up
            assert excused or one.uids in stored | differing
    for one in rows:
        if one.transfer.state == State.CONFIRMED and one.uids not in stored | differing:
            own = next((x for x in holds if x.orthanc_id == one.transfer.orthanc_id), None)
            assert own is not None, "nothing excuses it"
            assert own.received_at >= BEGAN, "but a newer version that came just now"
    unknown = {one.uids for one in found.findings if one.category is Category.UNKNOWN}
    known = {one.uids for one in (*holds, *rows)}
    assert unknown == {uids(one) for one in listed} - known


def test_a_finding_says_for_whom_the_rules_want_what_orthanc_has():
    rows = [of_another_file(row(2)), of_another_file(row(3)), row(4)]
    sides = Sides(A, [held(1), held(2), held(3, wanted=None)], rows)
    found = {one.orthanc_id: one.accounts for one in compare(sides, SCOPE, NOW).findings}
    assert found == {"o1": {A, "b"}, "o2": {A, "b"}, "o3": None, "o4": frozenset()}


def of_another_file(recorded):
    return replace(recorded, transfer=replace(recorded.transfer, attachment_uuid="before"))
