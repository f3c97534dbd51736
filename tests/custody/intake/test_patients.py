"""Patients that are not to be recycled, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.intake import patients as module
from orthanc_gcp.custody.intake.patients import Patient, Patients, UnprotectedRow
from orthanc_gcp.ledger.schema import IN_NEED, Guard, State, patients, transfers
from tests.support.ledgers import BEGIN, ORTHANC, A, arrival, states
from tests.support.transfers import events_of


def put(ledger, *names, state=State.WAITING, **more):
    """Instances in a state."""
    ledger.arrivals.record([arrival(name, **more) for name in names])
    with ledger.writing() as connection:
        mine = transfers.c.orthanc_id.in_(names)
        connection.execute(transfers.update().where(mine).values(state=state))


def row_of(ledger, name):
    with ledger.reading() as connection:
        return connection.scalar(sql.select(transfers.c.id).where(transfers.c.orthanc_id == name))


def test_they_are_written_down_once_and_grow(ledger):
    assert not Patients(ledger).known()
    first = Patients(ledger).add(ORTHANC, {"q": {"2"}, "p": {"1", "3"}}, {"p": 5})
    assert first == [Patient("q", Guard.WANTED, None, 0), Patient("p", Guard.WANTED, None, 5)]
    assert Patients(ledger).known()
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.BEGUN})
    (again,) = Patients(ledger).add(ORTHANC, {"p": {"3"}}, {"p": 7})
    assert again == Patient("p", Guard.BEGUN, None, 12)
    assert [one.orthanc_id for one in Patients(ledger).page(ORTHANC, "", 9)] == ["p", "q"]
    assert [one.orthanc_id for one in Patients(ledger).page(ORTHANC, "p", 9)] == ["q"]
    assert Patients(ledger).page("other", "", 9) == []


def test_it_is_ours_only_while_that_is_meant(ledger, clock):
    Patients(ledger).add(ORTHANC, {"p": {"1"}, "q": {"1"}}, {})
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.BEGUN})
    clock.now += 9
    assert Patients(ledger).own(ORTHANC, ["p", "q", "r"]) == {"p"}
    assert [(one.guard, one.since) for one in Patients(ledger).page(ORTHANC, "", 9)] == [
        (Guard.OWN, BEGIN + 9),
        (Guard.WANTED, None),
    ]


def test_what_another_worker_has_found_protected_is_ours_still(ledger, clock):
    Patients(ledger).add(ORTHANC, {guard.value: {"1"} for guard in Guard}, {})
    Patients(ledger).set_guards(ORTHANC, {guard.value: guard for guard in Guard})
    clock.now += 9
    names = [*Guard, "forgotten"]
    assert Patients(ledger).own(ORTHANC, names) == {"begun", "own"}
    since = {one.orthanc_id: one.since for one in Patients(ledger).page(ORTHANC, "", 9)}
    assert (since["begun"], since["own"]) == (BEGIN + 9, BEGIN)


def test_what_is_protected_anew_is_not_forgotten(ledger):
    Patients(ledger).add(ORTHANC, {"p": {"study"}, "q": {"study"}, "r": {"study"}}, {})
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.OWN, "q": Guard.BEGUN})
    Patients(ledger).forget(ORTHANC, ["p", "q"])
    put(ledger, "x")
    assert [(one.orthanc_id, one.guard) for one in Patients(ledger).page(ORTHANC, "", 9)] == [
        ("p", Guard.BEGUN),
        ("r", Guard.WANTED),
    ]
    assert Patients(ledger).in_need(ORTHANC, ["p", "q", "r"]) == {"p", "r"}


def test_the_total_is_of_what_is_protected(ledger, clock):
    guards = {guard.value: guard for guard in Guard}
    Patients(ledger).add(ORTHANC, {name: {"1"} for name in guards}, dict.fromkeys(guards, 10))
    Patients(ledger).add("other", {"p": {"1"}}, {"p": 10})
    Patients(ledger).set_guards(ORTHANC, guards)
    assert Patients(ledger).total(ORTHANC) == (3, 30)
    assert Patients(ledger).total("nothing") == (0, 0)
    assert Patients(ledger).unprotected() == 0, "nothing of them is to be sent"
    put(ledger, "x", study_instance_uid="1")
    assert Patients(ledger).unprotected() == 6
    assert Patients(ledger).unprotected("other") == 0
    Patients(ledger).set_sizes(ORTHANC, {"own": 50, "wanted": 7})
    assert Patients(ledger).total(ORTHANC) == (3, 70)
    clock.now += 1
    Patients(ledger).own(ORTHANC, ["begun"])
    assert [one.orthanc_id for one in Patients(ledger).newest_own(ORTHANC, 1)] == ["begun"]


def test_those_that_take_most_come_first(ledger):
    sizes = {"p": 5, "q": 9, "r": 5, "s": 7, "t": 99}
    Patients(ledger).add(ORTHANC, {name: {"1"} for name in sizes}, sizes)
    Patients(ledger).set_guards(ORTHANC, dict.fromkeys("pqr", Guard.OWN) | {"s": Guard.FOREIGN})
    found = Patients(ledger).largest_protected(ORTHANC)
    assert [one.orthanc_id for one in found] == ["q", "s", "p", "r"]
    assert Patients(ledger).not_protected_yet(ORTHANC) == (1, 99)


@pytest.mark.parametrize("state", State)
def test_who_is_in_need(ledger, state):
    Patients(ledger).add(ORTHANC, {"p": {"study"}, "q": {"other"}}, {})
    put(ledger, "x", state=state)
    needed = Patients(ledger).in_need(ORTHANC, ["p", "q"])
    assert needed == ({"p"} if state in IN_NEED else set())


def test_of_one_study_of_two_patients_each_is_in_need_of_its_own(ledger):
    Patients(ledger).add(ORTHANC, {"p": {"study"}, "q": {"study"}}, {})
    put(ledger, "x")
    assert Patients(ledger).in_need(ORTHANC, ["p", "q"]) == {"p", "q"}, "it may be of either"
    Patients(ledger).set_patients({row_of(ledger, "x"): "q"})
    assert Patients(ledger).in_need(ORTHANC, ["p", "q"]) == {"q"}
    put(ledger, "y", patient_orthanc_id="p")
    assert Patients(ledger).in_need(ORTHANC, ["p", "q"]) == {"p", "q"}


def test_of_which_patient_a_row_is_is_written_down_once(ledger):
    put(ledger, "x", patient_orthanc_id="p")
    put(ledger, "y")
    rows = {row_of(ledger, name): "q" for name in "xy"}
    Patients(ledger).set_patients(rows)
    Patients(ledger).set_patients({})
    with ledger.reading() as connection:
        query = sql.select(transfers.c.patient_orthanc_id).order_by(transfers.c.id)
        assert connection.scalars(query).all() == ["p", "q"]


def test_what_has_no_patient_yet(ledger, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 2)
    put(ledger, *"abcde", study_instance_uid="1")
    put(ledger, "f", state=State.QUARANTINED, study_instance_uid="2")
    put(ledger, "g", state=State.CONFIRMED, study_instance_uid="3")
    put(
        *(ledger, "h"), state=State.HELD, study_instance_uid="4", priority=2, patient_orthanc_id="p"
    )
    put(ledger, "j", study_instance_uid="4", patient_orthanc_id="q")
    put(ledger, "k", study_instance_uid="6", patient_orthanc_id="p")
    put(ledger, "l", study_instance_uid="4")
    put(ledger, "i", source="other", study_instance_uid="5")
    Patients(ledger).add(ORTHANC, {"p": {"4"}}, {})
    found = list(Patients(ledger).without_patient(ORTHANC))
    assert max(map(len, found)) == 2
    studies = dict.fromkeys("abcde", "1") | {"j": "4", "k": "6", "l": "4", "f": "2"}
    assert [row for some in found for row in some] == [
        UnprotectedRow(row_of(ledger, name), name, study) for name, study in studies.items()
    ]


def test_a_row_is_covered_while_its_patient_is_protected(ledger, clock):
    put(ledger, "x", patient_orthanc_id="p")
    row = row_of(ledger, "x")
    assert not Patients(ledger).covers(row, clock.now)
    Patients(ledger).add(ORTHANC, {"p": {"study"}}, {})
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.BEGUN})
    assert not Patients(ledger).covers(row, clock.now)
    Patients(ledger).own(ORTHANC, ["p"])
    assert Patients(ledger).covers(row, clock.now)
    assert not Patients(ledger).covers(row, clock.now - 1)
    Patients(ledger).add(ORTHANC, {"q": {"study"}}, {})
    assert Patients(ledger).covers(row, clock.now), "it is not of that one"
    clock.now += 1000
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.REMOVED})
    assert not Patients(ledger).covers(row, clock.now)
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.FOREIGN})
    assert not Patients(ledger).covers(row, clock.now), "not from the beginning"


@pytest.mark.parametrize("patient", [None, "q"])
def test_that_another_patient_of_its_study_is_protected_covers_no_row(ledger, clock, patient):
    Patients(ledger).add(ORTHANC, {"p": {"study"}}, {})
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.FOREIGN})
    put(ledger, "x", patient_orthanc_id=patient)
    assert not Patients(ledger).covers(row_of(ledger, "x"), clock.now)


def test_what_was_protected_until_it_was_deleted_is_covered(ledger, clock):
    put(ledger, "x", patient_orthanc_id="p")
    row = row_of(ledger, "x")
    Patients(ledger).add(ORTHANC, {"p": {"study"}}, {})
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.FOREIGN})
    clock.now += 100
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.OWN_DELETED})
    assert Patients(ledger).covers(row, clock.now)
    assert Patients(ledger).total(ORTHANC) == (0, 0)


def test_what_is_lost_with_a_patient(ledger, clock):
    mine = {"study_instance_uid": "1", "patient_orthanc_id": "p"}
    put(ledger, *"ab", **mine)
    put(ledger, "c", **mine, state=State.SENDING)
    put(ledger, "d", **mine, state=State.QUARANTINED)
    put(ledger, "e", **mine, state=State.CONFIRMED)
    put(ledger, "f", study_instance_uid="2", patient_orthanc_id="q")
    put(ledger, "g", **mine, source="other")
    put(ledger, "h", study_instance_uid="1")
    Patients(ledger).add(ORTHANC, {"p": {"1", "2"}, "q": {"2"}}, {})
    assert Patients(ledger).lose(ORTHANC, {"p": BEGIN - 200}) == {(A, "1"): 3}
    assert {name for name, state in states(ledger).items() if state == State.LOST} == {*"abd"}
    assert len(events_of(ledger, "lost")) == 3
    assert Patients(ledger).lose(ORTHANC, {"p": BEGIN, "q": BEGIN}) == {(A, "2"): 1}


def test_what_was_written_down_lately_and_is_gone_is_not_covered(ledger, clock):
    mine = {"study_instance_uid": "1", "patient_orthanc_id": "p"}
    put(ledger, "a", **mine)
    clock.now += 61
    put(ledger, *"bc", **mine)
    put(ledger, "d", **mine, state=State.CONFIRMED)
    put(ledger, "e", study_instance_uid="1", patient_orthanc_id="q")
    put(ledger, "f", **mine, source="other")
    Patients(ledger).add(ORTHANC, {"p": {"1"}, "q": {"1"}}, {})
    found = Patients(ledger).written_down_lately(ORTHANC, ["p"])
    assert sorted(found.values()) == ["b", "c"]
    clock.now += 1
    Patients(ledger).note_absent([row for row, name in found.items() if name == "b"])
    Patients(ledger).set_guards(ORTHANC, {"p": Guard.FOREIGN})
    with ledger.reading() as connection:
        query = sql.select(transfers.c.orthanc_id, transfers.c.absent_since)
        since = dict(connection.execute(query.where(transfers.c.source == ORTHANC)).all())
    assert since == dict.fromkeys("acde") | {"b": BEGIN + 61}
    assert not Patients(ledger).covers(row_of(ledger, "b"), since["b"])
    assert Patients(ledger).covers(row_of(ledger, "c"), clock.now)


def test_forgotten_and_copied(ledger):
    Patients(ledger).add(ORTHANC, {"p": {"study"}, "q": {"2"}}, {"p": 5})
    Patients(ledger).copy(ORTHANC, "copy")
    Patients(ledger).forget(ORTHANC, ["p", "q"])
    assert Patients(ledger).page(ORTHANC, "", 9) == []
    assert [one.orthanc_id for one in Patients(ledger).page("copy", "", 9)] == ["p", "q"]
    put(ledger, "x", source="copy")
    assert Patients(ledger).in_need("copy", ["p"]) == {"p"}


def test_a_guard_that_does_not_exist(ledger):
    Patients(ledger).add(ORTHANC, {"p": {"1"}}, {})
    with ledger.writing() as connection:
        connection.execute(patients.update().values(guard="'; DROP TABLE"))
    assert Patients(ledger).page(ORTHANC, "", 9) == [Patient("p", Guard.WANTED, None, 0)]
