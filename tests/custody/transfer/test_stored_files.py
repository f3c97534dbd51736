"""Files that Orthanc cannot give: one of them, or all."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest

from orthanc_gcp.custody.destinations.fault_scope import Blame
from orthanc_gcp.custody.transfer.stored_files import PROBE_EVERY, SHOWN_FOR, StoredFiles
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.orthanc.orthanc_stub import stub
from tests.support.simulation import FakeClock

COUNT = 8


def row(name: str, file: str = "") -> Transfer:
    return Transfer(
        *(1, "a", "o", name, "1", "2", "3", 4, file, None),
        *("sending", 0, None, False, 0.0, None, 0),
    )


@dataclass
class Room:
    """An Orthanc of some instances, of which it gives those files that are not missing."""

    server: object
    files: StoredFiles
    clock: FakeClock
    storage: object

    def lose(self, *numbers: int) -> None:
        self.server.answers |= {f"GET /instances/i{n}/file": 500 for n in numbers}

    def give(self, *numbers: int) -> None:
        self.server.answers |= {f"GET /instances/i{n}/file": b"dicm" for n in numbers}

    def hold(self, *numbers: int) -> None:
        """Let Orthanc hold these, and no others."""
        page = [{"ID": f"i{n}", "FileSize": 4} for n in numbers]
        self.server.answers["GET /statistics"] = {"CountInstances": len(page)}
        for since in range(COUNT):
            path = f"GET /instances?since={since}&limit=5&expand"
            self.server.answers[path] = page


@pytest.fixture
def room(tmp_path):
    with stub({"GET /system": {"StorageAreaPlugin": None}}) as server:
        clock = FakeClock()
        source = OrthancSource(OrthancRest(server.url), tmp_path)
        made = Room(server, StoredFiles(source, clock, lambda: 1.0), clock, tmp_path)
        made.hold(*range(COUNT))
        made.give(*range(COUNT))
        yield made


def test_one_that_is_missing_among_others_is_at_fault_itself(room):
    room.lose(0)
    assert room.files.failed(row("i0"), "500") is Blame.SUBJECT
    assert (room.files.pause, room.files.problem) == (0, None)


def test_none_is_at_fault_when_no_other_can_be_read(room):
    room.lose(*range(COUNT))
    assert room.files.failed(row("i0"), "answered 500") is Blame.DESTINATION
    assert "is its storage mounted? answered 500" in room.files.problem
    pauses = []
    for _ in range(9):
        pauses.append(room.files.pause)
        room.clock.time += room.files.pause
        assert room.files.failed(row("i1"), "500") is Blame.DESTINATION
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    room.give(*range(COUNT))
    room.files.succeeded(["i1"], room.clock.now())
    assert (room.files.pause, room.files.problem) == (0, None)


def test_many_that_are_missing_are_at_fault_themselves(room):
    """Each failure says nothing of the storage, as long as another file is there."""
    room.lose(*range(COUNT - 1))
    blamed = [room.files.failed(row(f"i{n}"), "500") for n in range(COUNT - 1)]
    assert blamed[-1] is Blame.SUBJECT  # only then are all known that are missing


def test_what_is_read_from_a_proxy_in_place_of_a_file_is_none(room):
    room.server.answers |= {f"GET /instances/i{n}/file": b"<html>" for n in range(COUNT)}
    assert room.files.failed(row("i0"), "MD5") is Blame.DESTINATION


def test_what_was_read_a_moment_ago_is_not_asked_for_again(room):
    room.lose(0)
    room.files.failed(row("i0"), "500")
    room.lose(1)
    asked = len(room.server.requests)
    assert room.files.failed(row("i1"), "500") is Blame.SUBJECT
    assert len(room.server.requests) == asked
    room.lose(*range(COUNT))
    room.clock.time += PROBE_EVERY
    assert room.files.failed(row("i0"), "500") is Blame.DESTINATION


def test_the_only_ones_that_orthanc_has(room):
    room.lose(0, 1, 2)
    room.hold(0)
    assert room.files.failed(row("i0"), "500") is Blame.UNKNOWN
    room.hold(0, 1, 2)
    for number in (0, 1):
        room.clock.time += PROBE_EVERY
        room.files.failed(row(f"i{number}"), "500")
    room.clock.time += PROBE_EVERY
    assert room.files.failed(row("i2"), "500") is Blame.DESTINATION


def test_a_folder_that_is_seen_to_miss_a_file(room):
    """The volume is mounted: it has the place where the file was."""
    room.lose(0)
    room.hold(0)
    file = str(uuid.uuid4())
    assert room.files.failed(row("i0", file), "500") is Blame.UNKNOWN
    (room.storage / file[:2] / file[2:4]).mkdir(parents=True)
    assert room.files.failed(row("i0", file), "500") is Blame.SUBJECT
    room.hold(*range(COUNT))
    room.lose(*range(COUNT))
    assert room.files.failed(row("i0", file), "500") is Blame.SUBJECT


def test_a_folder_that_is_left_from_before_a_plugin_keeps_the_files(room):
    """An object storage, or a database: no file is missed in the folder."""
    room.server.answers["GET /system"] = {"StorageAreaPlugin": "libOrthancAwsS3Storage.so"}
    room.lose(*range(COUNT))
    file = str(uuid.uuid4())
    (room.storage / file[:2] / file[2:4]).mkdir(parents=True)
    assert room.files.failed(row("i0", file), "500") is Blame.DESTINATION
    room.give(*range(1, COUNT))
    assert room.files.failed(row("i0", file), "500") is Blame.SUBJECT


def test_a_problem_that_nobody_meets_any_more_is_not_shown_for_ever(room):
    room.lose(*range(COUNT))
    room.files.failed(row("i0"), "500")
    room.clock.time += room.files.pause + SHOWN_FOR - 1
    assert room.files.problem
    room.clock.time += 1
    assert room.files.problem is None


def test_what_was_read_before_the_storage_went_away_says_nothing(room):
    began = room.clock.now()
    room.clock.time += 1
    room.lose(*range(COUNT))
    room.files.failed(row("i0"), "500")
    room.files.succeeded(["i3"], began)
    assert room.files.pause
