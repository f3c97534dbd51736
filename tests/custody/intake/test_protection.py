"""Patients of a real Orthanc that recycles: who is protected, who is not, and what is lost."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake import protection as module
from orthanc_gcp.custody.intake.changes import SWEEP_EVERY, Follower
from orthanc_gcp.custody.intake.inventory import COMPARE_AT_MOST_EVERY
from orthanc_gcp.custody.intake.missing import MISSING_ALONE_FOR
from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.custody.intake.open_transfers import close, hand_over
from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.custody.intake.protection import SCAN_EVERY, Protection
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.outcomes import ABSENT_FOR
from orthanc_gcp.custody.transfer.absence import of_absent
from orthanc_gcp.errors import OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.ledger.rows import COLUMNS, Transfer
from orthanc_gcp.ledger.schema import Guard, State, lost_changes, patients, transfers
from orthanc_gcp.orthanc.recycling import StorageLimits
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.orthanc.versions import parse_version
from tests.support.front import Front
from tests.support.orthanc import Orthanc
from tests.support.simulation import FakeClock
from tests.support.site import make_instance
from tests.support.transfers import events_of

MOST = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    options = {"MaximumPatientCount": MOST}
    with Orthanc(tmp_path_factory.mktemp("orthanc"), options, plugins=()) as orthanc:
        yield orthanc


class Room:
    """An Orthanc, a ledger, and who follows the one into the other."""

    def __init__(self, ledger, orthanc):
        self.ledger, self.orthanc, self.clock = ledger, orthanc, FakeClock()
        self.rest = OrthancRest(orthanc.url)
        self.source = OrthancSource(self.rest, orthanc.folder / "storage")
        self.limits = StorageLimits(patients=MOST)
        self.patients = {}
        self.follower = self.protection = None

    def start(self, *, enabled=True, percent=80):
        """A worker, anew."""
        self.protection = Protection(
            self.ledger,
            self.source,
            self.clock,
            enabled=enabled,
            up_to_percent=percent,
            configured=self.limits,
        )
        self.follower = Follower(
            self.ledger,
            self.source,
            Rules([SendRule(to="a")], self.source.attributes),
            self.clock,
            lambda: None,
            self.ledger.now(),
            protection=self.protection,
        )
        return self.read()

    def read(self):
        while self.follower.step():
            pass
        return self

    def scan(self, seconds=SCAN_EVERY + 1):
        """All patients are gone through once."""
        self.clock.time += seconds
        for _ in range(20):
            self.follower.step()
        return self

    def receive(self, *names, **more):
        for name in names:
            answer = self.orthanc.json("POST", "/instances", make_instance(patient=name, **more))
            self.patients[name] = answer["ParentPatient"]
        return self

    def protect(self, name, protected=1):
        path = f"/patients/{self.patients[name]}/protected"
        self.orthanc.request("PUT", path, b"%d" % protected)

    @property
    def protected(self):
        """The patients that are there, each with whether it is protected."""
        found = {
            name: self.source.recycling.is_protected(one) for name, one in self.patients.items()
        }
        return {name: one for name, one in found.items() if one is not None}

    @property
    def guards(self):
        """What the ledger has."""
        names = {one: name for name, one in self.patients.items()}
        with self.ledger.reading() as connection:
            rows = connection.execute(sql.select(patients.c.orthanc_id, patients.c.guard)).all()
        return {names[row.orthanc_id]: row.guard for row in rows}

    def settle(self, name, state=State.CONFIRMED):
        """What becomes of all instances of a patient."""
        there = self.orthanc.json("GET", f"/patients/{self.patients[name]}/instances")
        with self.ledger.writing() as connection:
            mine = transfers.c.orthanc_id.in_([one["ID"] for one in there])
            connection.execute(transfers.update().where(mine).values(state=state))

    @property
    def states(self):
        with self.ledger.reading() as connection:
            return list(connection.scalars(sql.select(transfers.c.state).order_by(transfers.c.id)))

    def row(self, number=0):
        with self.ledger.reading() as connection:
            query = sql.select(*COLUMNS).order_by(transfers.c.id)
            return Transfer(*connection.execute(query).all()[number])

    def state_without(self, number):
        """What becomes of a row when Orthanc does not have its instance from now on, if not yet."""
        row, now = self.row(number), self.ledger.now()
        row = replace(row, absent_since=row.absent_since or now)
        return of_absent(
            row, now + ABSENT_FOR, lambda _: True, self.protection.may_be_recycled
        ).state


@pytest.fixture
def room(sqlite_ledger, server):
    for patient in server.json("GET", "/patients"):
        server.json("DELETE", f"/patients/{patient}")
    return Room(sqlite_ledger, server).start()


def test_what_is_not_confirmed_outlives_what_comes(room):
    room.receive("A", "B").read()
    assert room.protected == {"A": True, "B": True}
    room.receive("C", "D", "E", "F").read()
    assert room.protected == {"A": True, "B": True, "D": True, "E": True, "F": False}
    assert room.states == [State.WAITING] * 5, "C was recycled before it was read"


def test_it_is_released_when_all_of_it_is_confirmed(room):
    room.receive("A", "A", "B").read()
    one = room.row()
    with room.ledger.writing() as connection:
        mine = transfers.c.id == one.id
        connection.execute(transfers.update().where(mine).values(state=State.CONFIRMED))
    room.scan()
    assert room.protected == {"A": True, "B": True}
    room.settle("A")
    room.settle("B", State.QUARANTINED)
    room.scan()
    assert room.protected == {"A": False, "B": True}, "what is in quarantine is not sent"
    assert room.guards == {"B": Guard.OWN}
    room.settle("B", State.WITHDRAWN)
    room.scan()
    assert (room.protected, room.guards) == ({"A": False, "B": False}, {})


def test_the_protection_of_somebody_else_stays(room):
    room.receive("A", "B")
    room.protect("A")
    room.read()
    assert room.guards == {"A": Guard.FOREIGN, "B": Guard.OWN}
    for name in "AB":
        room.settle(name)
    room.scan()
    assert room.protected == {"A": True, "B": False}


def test_when_theirs_is_taken_away_ours_takes_its_place(room):
    room.receive("A")
    room.protect("A")
    room.read()
    room.protect("A", 0)
    room.scan()
    assert (room.protected, room.guards) == ({"A": True}, {"A": Guard.OWN})


def test_ours_is_made_again_only_for_what_is_new(room):
    room.receive("A").read()
    room.protect("A", 0)
    room.scan().scan()
    assert (room.protected, room.guards) == ({"A": False}, {"A": Guard.REMOVED})
    assert Patients(room.ledger).unprotected() == 1, "it is said all the same"
    room.receive("A").read()
    assert (room.protected, room.guards) == ({"A": True}, {"A": Guard.OWN})


def test_ours_is_made_again_where_an_index_is_restored_from_before_it(room, clock):
    """Nobody has taken it away: it was not there yet."""
    room.receive("A", "B").read()
    room.protect("A", 0)
    source, now = room.follower.source, clock.now
    room.ledger.indexes.undo(source, now - 5, now + 5)
    clock.now += 10
    room.scan()
    assert (room.protected, room.guards["A"]) == ({"A": True, "B": True}, Guard.OWN)
    room.protect("A", 0)
    room.scan()
    assert (room.protected["A"], room.guards["A"]) == (False, Guard.REMOVED)


def test_orthanc_has_room_for_what_comes(room, caplog):
    room.receive(*"ABCDE").read().scan()
    assert sorted(room.protected.values()) == [False, True, True, True, True]
    assert room.guards["E"] == Guard.NO_ROOM
    assert "1 patients are not protected from its recycling" in caplog.text
    assert Patients(room.ledger).unprotected() == 1
    caplog.clear()
    room.scan()
    assert caplog.text == "", "it is said once"
    room.settle("A")
    room.scan()
    assert room.protected == {"A": False, "B": True, "C": True, "D": True, "E": True}
    assert Patients(room.ledger).unprotected() == 0
    assert "all patients are protected again" in caplog.text


def test_what_is_closed_is_not_unprotected_for_ever(room):
    """Its Orthanc may never come back, and nobody goes through its patients then."""
    room.start(percent=20).receive("A", "B", "C").scan()
    unprotected = Patients(room.ledger).unprotected
    assert unprotected() == 2
    close(room.ledger, room.follower.source)
    assert unprotected() == 0


def test_what_is_released_makes_room_at_once(room):
    """Nothing counts as not protected that has to wait only for what is confirmed already."""
    room.receive(*"ABCD").read()
    room.settle("A")
    room.receive("E").read()
    assert room.protected == {"A": False, "B": True, "C": True, "D": True, "E": True}


def test_by_bytes(room, clock):
    """Of 1 MiB: what is there counts, whatever the rules want of it."""
    room.limits = StorageLimits(mebibytes=1)
    room.start()
    room.receive("A", size=512).read()
    clock.now += 1
    room.receive("B", size=512).read()
    room.receive("C", size=600).read().scan()
    assert room.protected == {"A": True, "B": True, "C": False}
    room.receive("B", "B", size=512).read()
    assert room.protected == {"A": True, "B": False, "C": False}, "what grew is given up at once"
    room.scan().scan()
    assert room.guards == {"A": Guard.OWN, "B": Guard.NO_ROOM, "C": Guard.OWN}


def test_a_patient_whose_size_takes_orthanc_too_long_is_protected(room):
    """By what is known of it; nor is it in the way of another."""
    with Front() as front:
        front.target = room.orthanc.url
        rest = OrthancRest(front.url, timeout=1)
        room.source = OrthancSource(rest, room.orthanc.folder / "storage")
        room.limits = StorageLimits(mebibytes=100)
        room.start().receive("A", "B")
        front.stalls = f"/patients/{room.patients['A']}/statistics"
        room.read()
        assert room.guards == {"A": Guard.OWN, "B": Guard.OWN}
        assert room.protected == {"A": True, "B": True}
        front.closed.set()
        front.shutdown()


def test_what_is_received_again_takes_its_place_once(room, clock):
    """As Orthanc overwrites it, or its changes are read once more: there is room for the others."""
    room.limits = StorageLimits(mebibytes=1)
    room.start()
    again = make_instance(patient="A", size=512)
    room.receive("A", size=4).read()
    clock.now += 1
    room.receive("B", size=512).read()
    for _ in range(4):
        mine = room.orthanc.json("POST", "/instances", again)["ID"]
        room.read()
        room.orthanc.json("DELETE", f"/instances/{mine}")
    room.orthanc.json("POST", "/instances", again)
    room.read()
    assert room.guards == {"A": Guard.OWN, "B": Guard.OWN}
    assert room.protected == {"A": True, "B": True}


class Measured:
    """Three patients that seem to take far more than they do, counted one at a time."""

    def __init__(self, room, monkeypatch):
        self.room, self.asked = room, []
        self.size_bytes = room.source.recycling.size_bytes
        monkeypatch.setattr(module, "PORTION", 1)
        room.limits = StorageLimits(mebibytes=1)
        room.start().receive(*"ABC", size=4).read()
        room.scan()
        Patients(room.ledger).set_sizes(
            "test/ORTHANC", {room.patients[name]: 900_000 for name in "ABC"}
        )
        monkeypatch.setattr(room.source.recycling, "size_bytes", self._measure)

    def _measure(self, name):
        self.asked.append(name)
        self.room.clock.time += 1
        return self.size_bytes(name)

    def add(self, name):
        """What the follower does with a new instance, and how many it has asked for."""
        room = self.room
        got = room.orthanc.json("POST", "/instances", make_instance(patient=name, size=4))
        room.patients[name] = got["ParentPatient"]
        room.ledger.arrivals.record(
            room.follower._selector.select("test/ORTHANC", [got["ID"]]).arrivals
        )
        return self._asked_by(
            lambda: room.protection.add("test/ORTHANC", room.source.describe([got["ID"]]))
        )

    def steps(self, times=20):
        """How many each step of a scan asks for."""
        self.room.clock.time += 1000
        return [
            self._asked_by(lambda: self.room.protection.step("test/ORTHANC")) for _ in range(times)
        ]

    def _asked_by(self, does):
        before = len(self.asked)
        does()
        return len(self.asked) - before


def test_following_waits_for_few_sizes_at_once(room, monkeypatch, caplog):
    """What seems to be too much is no reason to give up, or alarm, before all of it is counted."""
    measured = Measured(room, monkeypatch)
    assert measured.add("D") <= 2, "one for what comes, one for what has grown"
    assert room.guards == {**dict.fromkeys("ABC", Guard.OWN), "D": Guard.WANTED}
    assert Patients(room.ledger).unprotected() == 0
    assert max(measured.steps()) == 1
    assert room.guards == dict.fromkeys("ABCD", Guard.OWN)
    assert room.protected == dict.fromkeys("ABCD", True)
    assert "are not protected" not in caplog.text
    assert max(map(measured.asked.count, room.patients.values())) == 1


def test_where_all_is_counted_and_it_is_too_much_that_is_said(room, monkeypatch, caplog):
    measured = Measured(room, monkeypatch)
    measured.size_bytes = lambda _name: 270_000
    measured.add("D")
    measured.steps()  # the size of D itself is known only then
    measured.steps()
    assert room.guards == {**dict.fromkeys("ABC", Guard.OWN), "D": Guard.NO_ROOM}
    assert "1 patients are not protected from its recycling" in caplog.text
    measured.asked.clear()
    measured.steps()
    assert set(measured.asked) <= {room.patients["D"]}, "no other has grown"


def test_what_has_grown_beyond_it_is_given_up_when_all_is_counted(room, monkeypatch):
    measured = Measured(room, monkeypatch)
    measured.size_bytes = lambda _name: 400_000
    measured.steps()
    assert sorted(room.guards.values()) == [Guard.NO_ROOM, Guard.OWN, Guard.OWN]
    assert sorted(measured.asked) == sorted(room.patients.values()), "each of them once"


def test_what_grows_beyond_it_after_all_is_counted_is_given_up_at_once(room, monkeypatch):
    measured = Measured(room, monkeypatch)
    measured.add("D")
    measured.steps()
    assert room.guards == dict.fromkeys("ABCD", Guard.OWN)
    measured.size_bytes = lambda _name: 900_000
    Patients(room.ledger).set_sizes("test/ORTHANC", {room.patients["A"]: 900_000})
    assert measured.add("A") <= 2
    assert Guard.NO_ROOM in room.guards.values()


def test_when_it_is_switched_off_ours_is_taken_away(room):
    room.receive("A", "B")
    room.protect("A")
    room.read()
    room.start(enabled=False).scan()
    assert (room.protected, room.guards) == ({"A": True, "B": False}, {})


def test_an_orthanc_that_recycles_nothing_is_left_alone(room):
    room.receive("A").read()
    room.limits = StorageLimits()
    room.start().scan()
    room.receive("B").read()
    assert (room.protected, room.guards) == ({"A": False, "B": False}, {})


def test_an_orthanc_that_rejects_is_left_alone_if_it_knows_how_to(room):
    version = parse_version(room.orthanc.json("GET", "/system")["Version"])
    room.limits = StorageLimits(patients=MOST, mode="Reject")
    room.start().receive("A").read()
    assert room.protected == {"A": version < (1, 11, 2)}


def test_what_was_written_down_elsewhere_is_protected_too(room):
    """Sent on demand, by a backfill, again, or before there was a limit."""
    room.limits = StorageLimits()
    room.start()
    room.receive("A", "B").read()
    room.settle("B")
    room.limits = StorageLimits(patients=MOST)
    room.start().scan()
    assert room.protected == {"A": True, "B": False}
    room.settle("B", State.WAITING)
    room.scan()
    assert room.protected == {"A": True, "B": True}


def test_what_is_handed_over_is_protected_from_then_on(room, clock):
    """Not from when the other Orthanc had received it: who deletes it then has deleted it."""
    room.receive("A").read()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(source="gone"))
    room.scan()
    assert room.guards == {}
    clock.now += 1000
    assert hand_over(room.ledger, room.source, "gone", room.follower.source) == 1
    room.scan()
    assert room.protected == {"A": True}
    assert not room.protection.may_be_recycled(room.row(), clock.now)


def test_one_study_of_two_patients(room):
    room.receive("A", study="1.2.3").receive("B", study="1.2.3").read()
    assert room.protected == {"A": True, "B": True}
    room.settle("A")
    room.scan()
    assert room.protected == {"A": False, "B": True}
    room.settle("B")
    room.scan()
    assert room.protected == {"A": False, "B": False}


def test_of_which_patient_a_row_of_an_earlier_release_is_is_asked_for(room):
    room.receive("A", study="1.2.3").receive("B", study="1.2.3").read()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(patient_orthanc_id=None))
    room.settle("A")
    room.start()
    assert room.protected == {"A": True, "B": True}, "whose the rest is is not known"
    room.scan()
    assert room.protected == {"A": False, "B": True}


class Killed(BaseException):
    """The worker ends here."""


def killed_before_it_protects(room, monkeypatch, *names, **more):
    """What these instances are is written down, and nothing of their patients."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(room.protection, "add", dies)
        room.receive(*names, **more).read()


def dies(*_):
    raise Killed


def test_the_second_patient_of_a_study_is_protected_after_a_crash(room, monkeypatch):
    """As after a PatientID was corrected."""
    room.receive("A", study="1.2.3").read()
    killed_before_it_protects(room, monkeypatch, "B", study="1.2.3")
    assert room.protected == {"A": True, "B": False}
    room.start().scan()
    assert room.protected == {"A": True, "B": True}
    room.settle("A")
    room.settle("B")
    room.scan()
    assert (room.protected, room.guards) == ({"A": False, "B": False}, {})


def test_the_second_patient_of_a_study_is_protected_when_it_is_sent_on_demand(room):
    room.follower._selector._rules = Rules([], room.source.attributes)
    room.receive("B", study="1.2.3").read()
    room.start().receive("A", study="1.2.3").read()
    assert room.protected == {"A": True, "B": False}
    assert send_on_demand(room.ledger, room.source, "a", [room.patients["B"]]) == 1
    room.scan()
    assert room.protected == {"A": True, "B": True}


def test_another_study_of_a_known_patient_keeps_it_protected(room, monkeypatch):
    room.receive("A", study="1.2.3").read()
    killed_before_it_protects(room, monkeypatch, "A", study="1.2.4")
    room.start().scan()
    with room.ledger.writing() as connection:
        mine = transfers.c.study_instance_uid == "1.2.3"
        connection.execute(transfers.update().where(mine).values(state=State.CONFIRMED))
    room.scan()
    assert room.protected == {"A": True}


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("protected", [True, False])
def test_a_crash_leaves_nothing_protected_for_ever(room, monkeypatch, at, protected):
    recycling = room.source.recycling
    protect = recycling.protect

    def dies(name, *, protected):
        if at == "after":
            protect(name, protected=protected)
        raise Killed

    room.receive("A")
    if not protected:
        room.read()
        room.settle("A")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(recycling, "protect", dies)
        room.scan()
    room.start().scan()
    assert room.protected == {"A": protected}
    room.settle("A")
    room.scan()
    assert (room.protected, room.guards) == ({"A": False}, {})


def test_a_worker_that_froze_undoes_what_it_was_about_to_do(room, monkeypatch):
    """Another one has taken over meanwhile, sent all of it and released it."""
    recycling = room.source.recycling
    protect = recycling.protect

    def late(name, *, protected):
        if protected:
            Patients(room.ledger).forget("test/ORTHANC", [name])
        return protect(name, protected=protected)

    monkeypatch.setattr(recycling, "protect", late)
    room.receive("A").read()
    assert (room.protected, room.guards) == ({"A": False}, {})


def successor_of(room):
    """The worker that takes over, with a connection of its own."""
    source = OrthancSource(room.rest, room.orthanc.folder / "storage")
    return Protection(
        room.ledger, source, room.clock, enabled=True, up_to_percent=80, configured=room.limits
    )


def test_a_worker_that_froze_leaves_what_its_successor_relies_on(room, monkeypatch):
    """Another one has taken over meanwhile, and has found it protected."""
    protect = room.source.recycling.protect

    def late(name, *, protected):
        there = protect(name, protected=protected)
        if protected:
            successor_of(room).release_all("test/ORTHANC")
        return there

    with monkeypatch.context() as patch:
        patch.setattr(room.source.recycling, "protect", late)
        room.receive("A").read()
    assert (room.protected, room.guards) == ({"A": True}, {"A": Guard.OWN})
    room.scan()
    assert (room.protected, room.guards) == ({"A": True}, {"A": Guard.OWN})


def test_what_a_frozen_worker_undoes_too_late_is_protected_again(room, monkeypatch):
    """Another one has released it, and has protected it anew for what came then."""
    protect = room.source.recycling.protect

    def late(name, *, protected):
        if protected:
            Patients(room.ledger).forget("test/ORTHANC", [name])
        else:
            successor_of(room).release_all("test/ORTHANC")
            Patients(room.ledger).set_guards("test/ORTHANC", {name: Guard.OWN})
        return protect(name, protected=protected)

    with monkeypatch.context() as patch:
        patch.setattr(room.source.recycling, "protect", late)
        room.receive("A").read()
    assert room.protected == {"A": False}
    room.scan()
    assert (room.protected, room.guards) == ({"A": True}, {"A": Guard.OWN})


def test_what_it_undoes_half_way_is_protected_again(room, monkeypatch):
    protect, undone = room.source.recycling.protect, []

    def late(name, *, protected):
        if protected:
            Patients(room.ledger).forget("test/ORTHANC", [name])
        elif undone:
            raise OrthancUnavailableError("away")
        else:
            undone.append(name)
            successor_of(room).release_all("test/ORTHANC")
            names = dict.fromkeys(room.patients.values(), Guard.OWN)
            Patients(room.ledger).set_guards("test/ORTHANC", names)
        return protect(name, protected=protected)

    with monkeypatch.context() as patch:
        patch.setattr(room.source.recycling, "protect", late)
        with suppress(OrthancUnavailableError):
            room.receive("A", "B").read()
    assert undone
    room.scan()
    assert room.protected == {"A": True, "B": True}
    assert room.guards == dict.fromkeys("AB", Guard.OWN)


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("ends", [Killed, OrthancUnavailableError])
def test_what_was_released_half_way_is_nobody_elses_doing(room, monkeypatch, ends, needed):
    recycling = room.source.recycling
    protect, released = recycling.protect, []

    def ends_at_the_second(name, *, protected):
        if released:
            raise ends("away")
        released.append(name)
        return protect(name, protected=protected)

    room.receive("A", "B").read()
    for name in "AB":
        room.settle(name)
    with monkeypatch.context() as patch, pytest.raises(ends):
        patch.setattr(recycling, "protect", ends_at_the_second)
        room.scan()
    assert sorted(room.protected.values()) == [False, True]
    for name in "AB":
        room.settle(name, State.WAITING if needed else State.CONFIRMED)
    room.start().scan()
    assert room.protected == {"A": needed, "B": needed}
    assert room.guards == ({"A": Guard.OWN, "B": Guard.OWN} if needed else {})


def test_what_a_frozen_worker_protects_while_it_is_released_is_released_again(room, monkeypatch):
    recycling = room.source.recycling
    protect = recycling.protect

    def crossed(name, *, protected):
        there = protect(name, protected=protected)
        if not protected:
            protect(name, protected=True)
            Patients(room.ledger).own("test/ORTHANC", [name])
        return there

    room.receive("A").read()
    room.settle("A")
    with monkeypatch.context() as patch:
        patch.setattr(recycling, "protect", crossed)
        room.scan()
    assert room.protected == {"A": True}
    room.scan()
    assert (room.protected, room.guards) == ({"A": False}, {})


def test_an_orthanc_that_does_not_let_us(room, monkeypatch, caplog):
    def refuse(*_args, **_more):
        raise OrthancRefusedError("403", status=403)

    monkeypatch.setattr(room.source.recycling, "protect", refuse)
    room.receive("A", "B").read()
    assert room.guards == {"A": Guard.REFUSED, "B": Guard.REFUSED}
    assert room.states == [State.WAITING] * 2, "following goes on"
    assert caplog.text.count("does not let patients be protected") == 1
    assert Patients(room.ledger).unprotected() == 2
    monkeypatch.setattr(room.source.recycling, "limits", refuse)
    room.receive("C").read().scan()
    assert len(room.states) == 3


@pytest.mark.parametrize("absent_for", [0, 2 * ABSENT_FOR])
def test_what_was_protected_though_the_answer_was_an_error_is_released(
    room, monkeypatch, absent_for
):
    """As by a proxy that does not wait for it."""
    protect = room.source.recycling.protect

    def times_out(name, *, protected):
        protect(name, protected=protected)
        raise OrthancRefusedError("504", status=504)

    with monkeypatch.context() as patch:
        patch.setattr(room.source.recycling, "protect", times_out)
        room.receive("A").read()
    assert (room.protected, room.guards) == ({"A": True}, {"A": Guard.BEGUN_REFUSED})
    assert Patients(room.ledger).unprotected() == 1, "as far as is known"
    if absent_for:
        with monkeypatch.context() as patch:
            absent(patch, room, "A")
            room.scan().scan(absent_for)
    room.settle("A")
    room.scan()
    assert (room.protected, room.guards) == ({"A": False}, {})


def test_what_an_error_has_left_is_protected_by_the_next_scan(room, monkeypatch):
    def fails(*_args, **_more):
        raise OrthancRefusedError("502", status=502)

    with monkeypatch.context() as patch:
        patch.setattr(room.source.recycling, "protect", fails)
        room.receive("A", "B").read()
    room.protect("A")
    room.scan()
    assert room.guards == dict.fromkeys("AB", Guard.OWN)
    assert room.protected == {"A": True, "B": True}


@pytest.mark.parametrize("status", [403, 500])
def test_what_is_confirmed_is_forgotten_where_orthanc_never_lets_us(room, monkeypatch, status):
    def refuse(*_args, **_more):
        raise OrthancRefusedError("no", status=status)

    monkeypatch.setattr(room.source.recycling, "protect", refuse)
    room.receive("A", "B").read()
    room.settle("A")
    room.scan()
    assert list(room.guards) == ["B"]


@pytest.mark.parametrize("status", [400, 404])
def test_patients_that_a_proxy_hides_are_not_gone(room, clock, status):
    """It lets through what other plugins and viewers need, and no path of patients."""
    with Front() as front:
        front.target = room.orthanc.url
        room.source = OrthancSource(OrthancRest(front.url), room.orthanc.folder / "storage")
        room.start().receive("A").read()
        room.settle("A")
        room.receive("B").read()
        front.hides = {"/patients/": status}
        room.receive("C").read().scan()
        clock.now += ABSENT_FOR + 1
        room.scan().scan()
        assert room.states == [State.CONFIRMED, State.WAITING, State.WAITING], "nothing is lost"
        assert room.guards == {"A": Guard.BEGUN, "B": Guard.OWN, "C": Guard.REFUSED}
        assert Patients(room.ledger).unprotected() == 1
        front.hides = {}
        room.scan().scan()
        assert room.protected == {"A": False, "B": True, "C": True}
        front.shutdown()


def test_what_is_ours_stays_ours_when_orthanc_refuses_for_a_while(room, monkeypatch):
    def refuse(*_args, **_more):
        raise OrthancRefusedError("500", status=500)

    room.receive("A", "B").read()
    room.settle("B")
    with monkeypatch.context() as patch:
        for name in ("is_protected", "protect", "size_bytes"):
            patch.setattr(room.source.recycling, name, refuse)
        room.scan()
    assert room.guards == {"A": Guard.OWN, "B": Guard.BEGUN}, "B was to be released"
    room.scan()
    assert room.protected == {"A": True, "B": False}


def test_one_odd_patient_is_in_the_way_of_no_other(room, monkeypatch):
    recycling = room.source.recycling
    is_protected, size_bytes = recycling.is_protected, recycling.size_bytes

    def odd(ask):
        def answer(name):
            if name == room.patients["A"]:
                raise OrthancRefusedError("500", status=500)
            return ask(name)

        return answer

    room.limits = StorageLimits(mebibytes=100)
    room.start()
    room.receive(*"ABC")
    monkeypatch.setattr(recycling, "is_protected", odd(is_protected))
    monkeypatch.setattr(recycling, "size_bytes", odd(size_bytes))
    room.read().scan()
    assert room.guards == {"A": Guard.REFUSED, "B": Guard.OWN, "C": Guard.OWN}
    room.settle("B")
    room.scan()
    assert room.guards == {"A": Guard.REFUSED, "C": Guard.OWN}


def test_what_a_crash_has_left_is_ours_without_room_too(room, monkeypatch):
    recycling = room.source.recycling
    protect = recycling.protect

    def dies(name, *, protected):
        protect(name, protected=protected)
        raise Killed

    room.receive("A")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(recycling, "protect", dies)
        room.read()
    assert room.guards == {"A": Guard.BEGUN}
    room.start(percent=1).scan()
    assert (room.protected, room.guards) == ({"A": False}, {"A": Guard.NO_ROOM})


def test_an_orthanc_that_is_away_is_made_up_for(room, monkeypatch):
    def away(*_args, **_more):
        raise OrthancUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(room.source.recycling, "is_protected", away)
        room.receive("A")
        with pytest.raises(OrthancUnavailableError):
            room.read()
    assert room.states == [State.WAITING]
    room.read().scan()
    assert room.protected == {"A": True}
    assert room.states == [State.WAITING]


def test_what_was_recycled_without_protection_is_lost(room, clock, caplog):
    room.receive(*"ABCDE").read().scan()
    room.receive("F").read().scan()
    assert "E" not in room.protected
    room.scan()
    clock.now += ABSENT_FOR - 1
    room.scan()
    assert State.LOST not in room.states
    clock.now += 2
    room.scan()
    assert room.states == [State.WAITING] * 4 + [State.LOST, State.WAITING]
    row = room.row(4)
    assert row.reason == "recycled"
    assert f"1 instances of study {row.study_instance_uid} are lost" in caplog.text
    (event,) = events_of(room.ledger, "lost")
    assert event.sop_instance_uid == row.sop_instance_uid
    room.scan()
    assert "E" not in room.guards, "nothing of it is to be protected"
    room.settle("A")
    room.scan()
    again = room.ledger.arrivals.known("test/ORTHANC", [row.orthanc_id])
    assert again[row.orthanc_id].deleted
    assert room.ledger.arrivals.reopen("test/ORTHANC", [row.orthanc_id]) == 1
    assert room.states[4] == State.WAITING


def test_what_another_patient_of_its_study_has_is_not_lost_with_it(room, clock, monkeypatch):
    room.receive(*"CDFG").read()
    room.receive("A", study="1.2.3").read().scan()
    assert room.guards["A"] == Guard.NO_ROOM
    room.orthanc.json("DELETE", f"/patients/{room.patients['A']}")
    killed_before_it_protects(room, monkeypatch, "B", study="1.2.3")
    room.start().scan()
    clock.now += ABSENT_FOR + 1
    room.scan()
    assert room.states == [State.WAITING] * 4 + [State.LOST, State.WAITING]
    room.scan()
    assert "A" not in room.guards, "nothing of it is to be protected"
    assert room.guards["B"] == Guard.NO_ROOM


def test_a_patient_that_is_back_is_not_lost(room, clock):
    room.receive(*"ABCDE").read().scan()
    room.receive("F").read().scan()
    room.scan()
    clock.now += ABSENT_FOR + 1
    room.settle("A")
    room.receive("E").read().scan()
    assert room.protected["E"]
    assert State.LOST not in room.states


@pytest.mark.parametrize("seen", [True, False])
def test_what_was_recycled_is_lost_though_its_patient_is_back_at_once(room, clock, seen):
    """And is protected so soon that it might have been all the time."""
    room.receive(*"ABCDE").read().scan()
    assert room.guards["E"] == Guard.NO_ROOM
    room.receive("F")
    if seen:
        room.scan()
        assert room.guards["E"] == Guard.GONE
        room.settle("F")
    room.settle("A")
    clock.now += 10
    room.receive("E").read().scan()
    assert (room.guards["E"], room.protected["E"]) == (Guard.OWN, True)
    assert room.state_without(4) == State.LOST
    assert room.state_without(-1) == State.WITHDRAWN


def test_what_is_there_when_its_patient_is_protected_at_last_is_covered(room, clock):
    room.receive(*"ABCDE").read().scan()
    room.settle("A")
    clock.now += 10
    room.scan()
    assert room.guards["E"] == Guard.OWN
    assert room.state_without(4) == State.WITHDRAWN


def test_what_orthanc_does_not_describe_just_then_is_not_absent(room, clock, monkeypatch):
    room.receive(*"ABCDE").read().scan()
    room.settle("A")
    clock.now += 10
    monkeypatch.setattr(room.source, "describe_each", lambda names, *_: ([], list(names)))
    room.scan()
    assert room.guards["E"] == Guard.OWN
    assert room.state_without(4) == State.WITHDRAWN


def test_what_somebody_deletes_does_not_count_any_more(room, clock):
    """It takes no room from others, and is known not to be recycled."""
    room.receive(*"ABCDE").read().scan()
    assert not room.protected["E"]
    now = clock.now
    clock.now += 5
    room.orthanc.json("DELETE", f"/patients/{room.patients['A']}")
    room.scan().scan()
    assert (room.guards["A"], room.protected["E"]) == (Guard.OWN_DELETED, True)
    clock.now += ABSENT_FOR + 1
    room.scan()
    assert State.LOST not in room.states
    assert not room.protection.may_be_recycled(room.row(), now)
    room.settle("B")
    room.receive("A").read().scan()
    assert (room.guards["A"], room.protected["A"]) == (Guard.OWN, True)


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("seconds", [5, 1000])
def test_what_was_deleted_counts_as_that_when_its_patient_is_received_again(
    room, clock, foreign, seconds
):
    """As a study that was corrected, while nothing of it was looked at."""
    room.receive("A")
    if foreign:
        room.protect("A")
    room.read().scan()
    clock.now += seconds
    room.orthanc.json("DELETE", f"/patients/{room.patients['A']}")
    room.scan()
    clock.now += seconds
    room.receive("A").read()
    assert (room.protected, room.guards) == ({"A": True}, {"A": Guard.OWN})
    for number in (0, 1):
        assert not room.protection.may_be_recycled(room.row(number), clock.now)


def test_what_was_recycled_after_it_was_deleted_and_received_again_is_lost(room, clock):
    room.receive("A").read()
    room.orthanc.json("DELETE", f"/patients/{room.patients['A']}")
    room.receive(*"BCDE").read().scan()
    clock.now += 1000
    room.receive("A").read().scan()
    assert room.guards["A"] == Guard.NO_ROOM
    clock.now += 1000
    room.settle("B")
    room.scan()
    assert room.protected["A"]
    assert room.protection.may_be_recycled(room.row(5), clock.now)


def absent(monkeypatch, room, *names):
    """Orthanc does not have these patients, for as long as it lasts."""
    recycling = room.source.recycling
    gone = {room.patients[name] for name in names}
    is_protected, protect = recycling.is_protected, recycling.protect
    monkeypatch.setattr(
        recycling, "is_protected", lambda one: None if one in gone else is_protected(one)
    )
    monkeypatch.setattr(
        recycling, "protect", lambda one, **more: one not in gone and protect(one, **more)
    )


@pytest.mark.parametrize("seconds", [0, 2 * ABSENT_FOR])
def test_what_is_ours_stays_ours_while_it_is_absent(room, clock, monkeypatch, seconds):
    """As behind an Orthanc that comes up with an empty volume."""
    room.receive("A", "B", "C")
    room.protect("B")
    room.read().scan()
    with room.ledger.writing() as connection:  # killed before it has noted the protection
        of_c = patients.c.orthanc_id == room.patients["C"]
        connection.execute(patients.update().where(of_c).values(guard=Guard.BEGUN, since=None))
    with monkeypatch.context() as patch:
        absent(patch, room, "A", "B", "C")
        room.scan()
        assert Guard.OWN not in room.guards.values()
        room.scan(seconds)
    clock.now += 1000
    room.start().scan()
    assert room.guards == {"A": Guard.OWN, "B": Guard.FOREIGN, "C": Guard.OWN}
    recycled = [room.protection.may_be_recycled(room.row(row), clock.now) for row in range(3)]
    assert recycled == [False, False, True], "of C it is not known"
    for name in "ABC":
        room.settle(name)
    room.scan()
    assert room.protected == {"A": False, "B": True, "C": False}
    assert room.guards == {}


def test_what_is_confirmed_while_it_is_absent_is_released_when_it_is_back(room, clock, monkeypatch):
    room.receive("A", "B").read().scan()
    with monkeypatch.context() as patch:
        absent(patch, room, "A", "B")
        room.scan()
        room.settle("A")
        room.settle("B")
        room.scan(ABSENT_FOR - 1)
    room.scan()
    assert room.protected == {"A": False, "B": False}
    assert room.guards == {}


def test_what_is_deleted_and_confirmed_is_forgotten(room, clock):
    room.receive("A", "B").read().scan()
    room.settle("A")
    room.settle("B", State.SENDING)
    for name in "AB":
        room.orthanc.json("DELETE", f"/patients/{room.patients[name]}")
    room.scan().scan(ABSENT_FOR + 1)
    assert room.guards == {"B": Guard.OWN_DELETED}


def test_what_may_have_been_recycled(room, clock):
    room.receive("A").read()
    row = room.row()
    now = clock.now
    assert not room.protection.may_be_recycled(row, now), "it was protected: somebody deleted it"
    assert room.protection.may_be_recycled(row, now - 1), "it was gone before it was protected"
    room.protect("A", 0)
    room.scan()
    assert room.protection.may_be_recycled(row, now), "somebody has taken that away"
    clock.now += 1000
    room.receive("A").read()
    assert room.protection.may_be_recycled(row, clock.now), "it was not protected all the time"
    assert not room.protection.may_be_recycled(room.row(1), clock.now)
    room.limits = StorageLimits()
    room.start()
    assert not room.protection.may_be_recycled(row, now), "nothing is recycled"
    assert room.protection.may_be_recycled(replace(row, id=10**6), now) is False


def test_the_second_patient_of_a_study_may_have_been_recycled(room, clock, monkeypatch):
    """That the first one is protected says nothing of it."""
    room.receive("A", study="1.2.3").read()
    killed_before_it_protects(room, monkeypatch, "B", study="1.2.3")
    room.orthanc.json("DELETE", f"/patients/{room.patients['B']}")
    room.start().scan()
    assert room.protection.may_be_recycled(room.row(1), clock.now)
    assert not room.protection.may_be_recycled(room.row(0), clock.now)


def test_without_a_row_of_the_patient_nothing_is_known(room, clock):
    room.start(enabled=False)
    room.receive("A").read()
    assert room.protection.may_be_recycled(room.row(), clock.now)


def test_changes_that_were_recycled_unread_are_lost(room, clock, caplog):
    room.receive("A").read()
    room.receive(*"BCDEFGHI").read()
    clock.now += MISSING_ALONE_FOR + 1
    room.scan(20)
    with room.ledger.reading() as connection:
        (lost,) = connection.execute(sql.select(lost_changes)).all()
    assert (lost.account, lost.source, lost.acknowledged_at) == ("a", "test/ORTHANC", None)
    assert lost.changes == lost.last_seq - lost.first_seq + 1 == 16, "four of each patient"
    assert "deleted or recycled before" in caplog.text
    (event,) = events_of(room.ledger, "changes missing")
    assert "16 changes" in event.detail


def losses_of(room):
    """The changes that count as lost, in the words that people are told, and as numbers."""
    room.scan(SWEEP_EVERY + 1)
    words = [event.detail for event in events_of(room.ledger, "changes missing")]
    with room.ledger.reading() as connection:
        return words, connection.execute(sql.select(lost_changes)).all()


@pytest.mark.parametrize("restarted", [False, True])
def test_what_is_deleted_when_all_of_it_was_sent_is_no_loss(room, clock, restarted):
    """As by a router, day by day: no change is left by which the index could be known."""
    for name in "ABC":
        room.receive(name).read()
        room.settle(name)
        room.scan()
        read = room.ledger.indexes.get(room.follower.source).seq
        room.orthanc.json("DELETE", f"/patients/{room.patients[name]}")
        room.scan()
        assert room.ledger.indexes.get(room.follower.source).seq == read
        if restarted:
            room.start()
        clock.now += MISSING_ALONE_FOR + 1
        assert losses_of(room) == ([], [])
    assert len(room.states) == 3
    assert room.follower.source == "test/ORTHANC"


def test_what_was_deleted_unread_is_lost_though_all_is_deleted_then(room, clock):
    room.receive("A").read()
    room.receive("B")
    room.orthanc.json("DELETE", f"/patients/{room.patients['B']}")
    room.receive("C").read()
    for name in "AC":
        room.orthanc.json("DELETE", f"/patients/{room.patients[name]}")
    room.scan()
    clock.now += MISSING_ALONE_FOR + 1
    words, (lost,) = losses_of(room)
    assert (lost.changes, lost.last_seq - lost.first_seq) == (4, 3), "of B, and of no other"
    assert len(words) == 1


@pytest.fixture
def today(clock):
    """What Orthanc receives is received after it is followed."""
    clock.now = time.time() - 60


@pytest.mark.usefixtures("today")
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("new", ["C", ""])
def test_changes_that_were_cleared_unread_are_no_loss(room, clock, new, restarted):
    """A comparison finds what they have reported."""
    room.receive("A").read()
    room.receive("B")
    room.orthanc.request("DELETE", "/changes")
    room.receive(*new)
    if restarted:
        room.start()
    room.read().scan(COMPARE_AT_MOST_EVERY + 1)
    clock.now += MISSING_ALONE_FOR + 1
    assert losses_of(room) == ([], [])
    assert len(room.states) == len(f"AB{new}")
    assert not room.ledger.arrivals.has_gap("test/ORTHANC")
    (event,) = events_of(room.ledger, "changes cleared")
    assert "were cleared before 4 of them were read" in event.detail


@pytest.mark.usefixtures("today")
def test_what_is_recycled_unread_after_changes_were_cleared_is_lost(room, clock):
    """Nobody has cleared what reported it, though what was read before has no change any more."""
    room.receive("Q").read()
    room.settle("Q", State.QUARANTINED)
    room.orthanc.request("DELETE", "/changes")
    room.receive("A").read()
    room.settle("A")
    room.scan()
    assert room.protected == {"Q": True, "A": False}
    room.receive("B")
    for name in "AB":
        room.orthanc.json("DELETE", f"/patients/{room.patients[name]}")
    room.receive("C").read()
    clock.now += MISSING_ALONE_FOR + 1
    words, (lost,) = losses_of(room)
    assert (lost.changes, lost.last_seq - lost.first_seq) == (4, 3), "of B, and of no other"
    assert len(words) == 1
    assert events_of(room.ledger, "changes cleared") == []


@pytest.mark.usefixtures("today")
def test_changes_that_are_cleared_unread_time_and_again_are_no_loss(room, clock):
    """As by night."""
    room.receive("A").read()
    for number in range(2):
        room.receive("B")
        room.orthanc.request("DELETE", "/changes")
        room.receive("C").read().scan(COMPARE_AT_MOST_EVERY + 1)
        clock.now += MISSING_ALONE_FOR + 1
        assert losses_of(room) == ([], [])
        assert len(events_of(room.ledger, "changes cleared")) == number + 1


@pytest.mark.usefixtures("today")
def test_changes_that_were_cleared_are_that_though_the_ledger_is_away_just_then(
    room, clock, monkeypatch
):
    def away(*_args, **_more):
        raise sql.exc.OperationalError("", {}, Exception("away"))

    room.receive("A").read()
    room.receive("B")
    room.orthanc.request("DELETE", "/changes")
    room.receive("C")
    with monkeypatch.context() as patch, pytest.raises(sql.exc.OperationalError):
        patch.setattr(room.ledger.arrivals, "record", away)
        room.read()
    room.start().scan(COMPARE_AT_MOST_EVERY + 1)
    clock.now += MISSING_ALONE_FOR + 1
    assert losses_of(room) == ([], [])
    assert len(room.states) == 3


def test_an_instance_that_vanishes_while_it_is_read_is_lost(room, monkeypatch):
    room.receive("A")
    monkeypatch.setattr(room.source, "describe", lambda *_: [])
    room.read()
    assert room.states == []
    with room.ledger.reading() as connection:
        (lost,) = connection.execute(sql.select(lost_changes)).all()
    assert (lost.changes, lost.first_seq) == (1, lost.last_seq)


def test_it_is_lost_too_when_orthanc_goes_away_just_then(room, monkeypatch):
    describe = room.source.describe

    def without_the_first(names, *more):
        return describe(names[1:], *more)

    def away(*_args, **_more):
        raise OrthancUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(room.source, "describe", without_the_first)
        patch.setattr(room.source.recycling, "is_protected", away)
        room.receive("A", "B")
        with pytest.raises(OrthancUnavailableError):
            room.read()
    room.read()
    with room.ledger.reading() as connection:
        (lost,) = connection.execute(sql.select(lost_changes)).all()
    assert lost.changes == 1


def test_what_cannot_be_read_yet_is_protected(room):
    """A rule may want it as soon as its attributes can be read."""
    room.follower._selector._rules = Rules(
        [SendRule(to="a", tags={"Rows": "64"})], lambda *_: refuse()
    )
    room.receive("A", "B").read()
    assert room.states == []
    assert room.protected == {"A": True, "B": True}
    room.receive("C", "D", "E", "F").scan()
    assert room.protected.keys() >= {"A", "B"}
    assert room.guards["A"] == Guard.OWN
    room.scan()
    assert room.guards["A"] == Guard.OWN, "it is needed as long as nobody knows"
    room.follower._selector._rules = Rules(
        [SendRule(to="a", tags={"Rows": "1"})], room.source.attributes
    )
    room.scan(SWEEP_EVERY + 1).scan()
    assert room.guards == {}
    assert not any(room.protected.values())


def refuse():
    raise OrthancRefusedError("answered 500", status=500)


def test_what_is_confirmed_is_released_though_some_are_never_described(room):
    """Three in a row are not all that there are."""
    room.receive("a").receive("b").start().receive("a").receive("b").read()
    odd = [room.orthanc.json("POST", "/instances", make_instance(patient="x")) for _ in range(3)]
    with Front() as front:
        front.target = room.orthanc.url
        front.dislikes = {one["ID"].encode(): 500 for one in odd}
        room.source = OrthancSource(OrthancRest(front.url), room.orthanc.folder / "storage")
        room.start()
        source = room.follower.source
        assert len(room.ledger.arrivals.unreadable(source)) == 3
        assert room.guards == {"a": Guard.OWN, "b": Guard.OWN}
        room.settle("a")
        room.scan(100)
        assert room.guards == {"b": Guard.OWN}
        front.shutdown()


def test_a_damaged_row_stops_nobody(room):
    room.receive("A").read()
    with room.ledger.writing() as connection:
        connection.execute(patients.update().values(guard="nonsense"))
    room.receive("B").read().scan()
    assert room.protected == {"A": True, "B": True}
