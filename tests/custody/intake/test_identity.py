"""Which index an Orthanc has, whatever it is called and whatever became of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing

import pytest
import sqlalchemy as sql

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake.changes import (
    NOTE_READ_EVERY,
    SEEN_EVERY,
    SWEEP_EVERY,
    Follower,
)
from orthanc_gcp.custody.intake.identity import READ_MARGIN, source_of
from orthanc_gcp.custody.intake.inventory import COMPARE_AT_MOST_EVERY
from orthanc_gcp.custody.intake.missing import MISSING_ALONE_FOR
from orthanc_gcp.custody.intake.open_transfers import separate
from orthanc_gcp.custody.intake.recognition import PROVEN_FOR, RECOGNIZE_EVERY, REFUSE_AFTER
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.schema import change_cursors, lost_changes, transfers
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc import Orthanc
from tests.support.simulation import FakeClock
from tests.support.site import make_instance, make_study
from tests.support.transfers import events_of

NAME = "test/ORTHANC"

BOTH = pytest.mark.parametrize("engine", ["SQLite", "PostgreSQL"], indirect=True)
ONE = pytest.mark.parametrize("engine", ["SQLite"], indirect=True)


@pytest.fixture
def start(tmp_path):
    """Makes Orthancs, which all have the same name, and ends them."""
    made = []

    def make(folder="orthanc"):
        orthanc = Orthanc(tmp_path / folder, {"OverwriteInstances": True}, plugins=())
        orthanc.start()
        made.append(orthanc)
        return orthanc

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def orthanc(start):
    return start()


class Locks:
    """Of the workers on a database, one follows an index."""

    def __init__(self):
        self.holders = {}

    def of(self, worker):
        return lambda source: self.holders.setdefault(source, worker) == worker


class Reader:
    """A follower on a clock of its own."""

    def __init__(self, ledger, orthanc, since=0.0, *, follows=lambda _: True, was_down=False):
        self.clock, self.recognized = FakeClock(), []
        self.orthanc = OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "storage")
        self.follower = Follower(
            ledger,
            self.orthanc,
            Rules([SendRule(to="a")], self.orthanc.attributes),
            self.clock,
            lambda: None,
            since,
            was_down=was_down,
            follows=follows,
            on_recognized=lambda: self.recognized.append(self.follower.source),
        )

    def read(self, later: float = 0.0) -> str:
        """Read all that there is; what the ledger calls the index."""
        self.clock.time += later
        while self.follower.step():
            pass
        return self.follower.source


def upload(orthanc, count=1):
    return [orthanc.json("POST", "/instances", one)["ID"] for one in make_study(instances=count)]


def rows(ledger):
    """The instances of each index."""
    found: dict[str, set[str]] = {}
    with ledger.reading() as connection:
        for row in connection.execute(sql.select(transfers.c.source, transfers.c.orthanc_id)):
            found.setdefault(row.source, set()).add(row.orthanc_id)
    return found


def restart(orthanc, **options):
    orthanc.kill()
    configuration = json.loads(orthanc.configuration_file.read_text())
    orthanc.configuration_file.write_text(json.dumps({**configuration, **options}))
    orthanc.start()


def swap(orthanc, folder):
    """Put another storage folder into the place of the own one, which comes out."""
    orthanc.kill()
    storage = orthanc.folder / "storage"
    out = folder.with_name(f"{folder.name}-out")
    storage.rename(out)
    if folder.exists():
        folder.rename(storage)
    orthanc.start()
    return out


@ONE
def test_a_rename_changes_nothing(ledger, orthanc, caplog):
    first = upload(orthanc)
    assert Reader(ledger, orthanc).read() == NAME
    restart(orthanc, Name="renamed", DicomAet="OTHER")
    unread = upload(orthanc)
    reader = Reader(ledger, orthanc)
    assert reader.read() == NAME
    assert rows(ledger) == {NAME: {*first, *unread}}
    assert ledger.indexes.get(NAME).name == "renamed/OTHER"
    assert "is now called renamed/OTHER" in caplog.text
    assert source_of(ledger, reader.orthanc) == NAME


@ONE
@pytest.mark.parametrize("has_rules", [True, False])
def test_a_command_does_not_say_since_when_an_index_is_followed(ledger, orthanc, has_rules):
    """It may be the first to use the ledger, after the first rules were loaded, or before."""
    old = upload(orthanc)
    time.sleep(1.1 - time.time() % 1)  # Orthanc has whole seconds, and may be some ms behind
    since = time.time()
    between = upload(orthanc)
    time.sleep(1.1 - time.time() % 1)
    reader = Reader(ledger, orthanc, since if has_rules else time.time())
    assert source_of(ledger, reader.orthanc) == NAME
    new = upload(orthanc)
    assert reader.read() == NAME
    assert rows(ledger)[NAME] & {*old, *between, *new} == {*(between if has_rules else ()), *new}


@ONE
def test_an_empty_index_is_not_recognized_for_sure(ledger, orthanc):
    """Only its name is known: since when it is followed stays noted until it has something."""
    since = time.time() - 60
    first = Reader(ledger, orthanc, since)
    first.read()
    assert (first.follower.source, first.recognized) == (NAME, [])
    unread = upload(orthanc)
    restart(orthanc, Name="renamed")
    reader = Reader(ledger, orthanc, since)
    name = reader.read()
    assert rows(ledger) == {name: set(unread)}
    assert reader.recognized == [name]


@ONE
def test_an_empty_index_is_renamed_before_a_worker_that_nobody_says_since_when(ledger, orthanc):
    Reader(ledger, orthanc, time.time() - 60).read()
    unread = upload(orthanc)
    restart(orthanc, Name="renamed")
    name = Reader(ledger, orthanc, time.time() + 60, was_down=True).read()
    assert rows(ledger) == {name: set(unread)}


@ONE
def test_what_comes_into_an_empty_index_shows_that_it_is_the_same(ledger, orthanc):
    reader = Reader(ledger, orthanc)
    reader.read()
    upload(orthanc)
    reader.read(2 * RECOGNIZE_EVERY)
    assert reader.recognized == [NAME]


@ONE
def test_all_was_deleted_and_its_orthanc_renamed(ledger, orthanc):
    """Nothing shows that it is the same: what may have been received since is sent all the same."""
    (gone,) = upload(orthanc)
    Reader(ledger, orthanc).read()
    orthanc.json("DELETE", f"/instances/{gone}")
    with ledger.writing() as connection:
        connection.execute(change_cursors.update().values(seen_at=time.time() - 60))
    unread = upload(orthanc)
    restart(orthanc, Name="renamed")
    reader = Reader(ledger, orthanc, since=time.time() + 60)
    name = reader.read()
    assert rows(ledger) == {NAME: {gone}, name: set(unread)}


@BOTH
def test_two_indexes_of_one_name_are_two(ledger, orthanc, start):
    """Both begin empty, as two installations with the defaults."""
    second, locks = start("second"), Locks()
    one = Reader(ledger, orthanc, follows=locks.of(1))
    two = Reader(ledger, second, follows=locks.of(2))
    one.read(), two.read()
    both = make_study(instances=2)
    ids = [one.json("POST", "/instances", file)["ID"] for file in both for one in (orthanc, second)]
    own = upload(second)
    for _ in range(2):
        names = one.read(2 * RECOGNIZE_EVERY), two.read(2 * RECOGNIZE_EVERY)
    assert names[0] != names[1]
    assert NAME in names
    assert rows(ledger) == {names[0]: set(ids), names[1]: {*ids, *own}}


@ONE
def test_an_empty_index_of_the_same_name_sends_nothing_of_another(ledger, orthanc, start):
    """Both are empty, and only one of them is followed: which of them it is shows later."""
    second, locks = start("second"), Locks()
    Reader(ledger, orthanc, follows=locks.of(1)).read()
    other = Reader(ledger, second, follows=locks.of(2))
    other.read()
    assert (other.follower.source, other.follower.candidate) == ("", NAME)


@BOTH
@pytest.mark.parametrize("at_once", [True, False])
def test_two_orthancs_of_different_names_have_one_empty_index(ledger, orthanc, caplog, at_once):
    """Nothing tells so before something is in it; then the first one marks it."""
    locks = Locks()
    one, two = (Reader(ledger, orthanc, follows=locks.of(name)) for name in ("one", "two"))
    two.orthanc.name = lambda: "two/ORTHANC"
    assert [one.read(), two.read()] == [NAME, "two/ORTHANC"]
    uploaded = set(upload(orthanc, 3))
    if at_once:
        newest_changes = one.orthanc.newest_changes

        def after_the_other():
            one.orthanc.newest_changes = newest_changes
            two.read()
            return newest_changes()

        one.orthanc.newest_changes = after_the_other
    one.read()
    first = "two/ORTHANC" if at_once else NAME
    assert one.read(RECOGNIZE_EVERY) == two.read(RECOGNIZE_EVERY) == first
    assert rows(ledger) == {first: uploaded}
    assert [cursor.source for cursor in ledger.indexes.all()] == [first]
    for _ in range(3):
        one.read(SEEN_EVERY)
        two.read(SEEN_EVERY)
    assert caplog.text.count(f"has the index {first} now") == 1
    assert "is now called" not in caplog.text


@ONE
@pytest.mark.parametrize("cleared", [False, True])
def test_an_index_of_the_name_of_one_that_stays_empty_is_another(ledger, orthanc, start, cleared):
    """Whoever follows the empty one would have read by now what is in this one."""
    second, locks = start("second"), Locks()
    Reader(ledger, orthanc, follows=locks.of(1)).read()
    other = Reader(ledger, second, follows=locks.of(2))
    own = upload(second)
    if cleared:
        second.request("DELETE", "/changes")
    other.read()
    assert other.follower.source == ""
    for _ in range(3):
        other.read(REFUSE_AFTER + RECOGNIZE_EVERY)
    assert other.follower.source not in ("", NAME)
    assert rows(ledger) == {other.follower.source: set(own)}
    assert len(ledger.indexes.all()) == 2


@ONE
def test_another_index_for_a_while_is_another(ledger, orthanc, tmp_path, caplog):
    first = upload(orthanc)
    reader = Reader(ledger, orthanc)
    reader.read()
    out = swap(orthanc, tmp_path / "empty")
    other = reader.read()
    assert other.startswith(f"{NAME}#")
    assert not reader.follower.is_index(NAME)
    assert f"has another index now: {other}" in caplog.text
    between = upload(orthanc)
    reader.read()
    swap(orthanc, out)
    assert reader.read() == NAME
    assert reader.follower.is_index(NAME)
    again = upload(orthanc)
    reader.read()
    assert rows(ledger) == {NAME: {*first, *again}, other: set(between)}


@ONE
def test_an_empty_index_for_a_while_takes_nothing(ledger, orthanc, tmp_path):
    first = upload(orthanc)
    reader = Reader(ledger, orthanc)
    reader.read()
    out = swap(orthanc, tmp_path / "empty")
    assert reader.read() != NAME
    swap(orthanc, out)
    new = upload(orthanc)
    assert reader.read() == NAME
    assert rows(ledger) == {NAME: {*first, *new}}


def copy_of(orthanc, folder):
    orthanc.kill()
    shutil.copytree(orthanc.folder / "storage", folder)
    orthanc.start()
    return folder


@BOTH
def test_an_older_backup_is_read_again_and_compared(ledger, orthanc, tmp_path, caplog):
    """Its changes go on under numbers that were read already, of other instances."""
    first = upload(orthanc, 3)
    Reader(ledger, orthanc).read()
    backup = copy_of(orthanc, tmp_path / "backup")
    lost = upload(orthanc, 4)
    Reader(ledger, orthanc).read()
    swap(orthanc, backup)
    new = upload(orthanc, 20)
    reader = Reader(ledger, orthanc)
    assert reader.read() == NAME
    assert rows(ledger) == {NAME: {*first, *lost, *new}}
    assert "an earlier state of what it was" in caplog.text
    assert not ledger.arrivals.has_gap(NAME)
    restarted = Reader(ledger, orthanc)
    caplog.clear()
    assert restarted.read() == NAME
    assert caplog.text == ""


@BOTH
@pytest.mark.parametrize("again", [True, False])
def test_a_backup_that_ends_before_what_was_read_and_cleared(ledger, orthanc, tmp_path, again):
    """The last numbers that were read were of what was cleared: no change of them is known."""
    first = upload(orthanc, 1)
    Reader(ledger, orthanc).read()
    backup = copy_of(orthanc, tmp_path / "backup")
    lost = upload(orthanc, 3)
    orthanc.request("DELETE", "/changes")
    Reader(ledger, orthanc).read()
    swap(orthanc, backup)
    if again:
        orthanc.request("DELETE", "/changes")
    reader = Reader(ledger, orthanc)
    assert reader.read() == NAME
    new = upload(orthanc, 1)
    assert reader.read(later=2 * COMPARE_AT_MOST_EVERY) == NAME
    assert rows(ledger) == {NAME: {*first, *lost, *new}}
    assert not ledger.arrivals.has_gap(NAME)


@BOTH
@pytest.mark.parametrize("stored", [True, False])
def test_an_older_version_in_a_backup_is_sent_only_where_no_store_has_the_newer(
    ledger, orthanc, tmp_path, stored
):
    content = bytearray(make_instance())
    mine = orthanc.json("POST", "/instances", bytes(content))["ID"]
    first = upload(orthanc)
    Reader(ledger, orthanc).read()
    files = {"old": ledger.arrivals.known(NAME, [mine])[mine].files}
    backup = copy_of(orthanc, tmp_path / "backup")
    time.sleep(1.1)  # Orthanc has whole seconds
    content[-2] ^= 1
    orthanc.json("POST", "/instances", bytes(content))
    lost = upload(orthanc, 2)
    Reader(ledger, orthanc).read()
    files["new"] = ledger.arrivals.known(NAME, [mine])[mine].files
    received = ledger.indexes.samples(NAME)
    if stored:
        with ledger.writing() as connection:
            connection.execute(transfers.update().values(state="confirmed"))
    swap(orthanc, backup)
    Reader(ledger, orthanc).read()
    assert ledger.arrivals.known(NAME, [mine])[mine].files == files["new" if stored else "old"]
    with ledger.reading() as connection:
        changes = connection.scalars(sql.select(lost_changes.c.changes)).all()
    assert changes == ([] if stored else [1])
    undone = {one for one in received if ledger.indexes.was_undone(NAME, received[one][1])}
    assert {*lost, mine} <= undone
    assert not ledger.indexes.was_undone(NAME, received[first[0]][1] - 1)


@ONE
def test_a_clone_of_what_another_worker_follows_is_refused(ledger, orthanc, start, tmp_path):
    upload(orthanc)
    original = Reader(ledger, orthanc)
    original.read()
    copy_of(orthanc, tmp_path / "clone" / "storage")
    clone = start("clone")
    original_new, clone_new = upload(orthanc), upload(clone)
    Reader(ledger, orthanc).read()
    copy = Reader(ledger, clone, follows=lambda _: False)
    copy.read()
    assert copy.follower.source == ""
    copy.clock.time += REFUSE_AFTER + 1
    with pytest.raises(OrthancError, match="a copy, or an earlier state, of test/ORTHANC"):
        copy.read()
    with pytest.raises(OrthancError, match="earlier state"):
        source_of(ledger, copy.orthanc)
    assert copy.follower.source == ""
    assert set(original_new) <= rows(ledger)[NAME]
    assert not set(clone_new) & rows(ledger)[NAME]


@ONE
def test_a_clone_of_one_that_has_nothing_new_is_refused_too(
    ledger, clock, orthanc, start, tmp_path
):
    """It has all that was read, and what comes into it is in no ledger."""
    upload(orthanc)
    locks = Locks()
    original = Reader(ledger, orthanc, follows=locks.of("original"))
    original.read()
    copy_of(orthanc, tmp_path / "clone" / "storage")
    clone = start("clone")
    copy = Reader(ledger, clone, follows=locks.of("copy"))
    assert copy.read() == NAME, "nothing tells it from the original"
    new = upload(clone)
    clock.now = time.time() + 3 * READ_MARGIN
    for _ in range(3):
        original.read(later=max(NOTE_READ_EVERY, SEEN_EVERY) + 1)
    assert copy.read(later=RECOGNIZE_EVERY) == NAME, "the other worker may be about to read it"
    assert copy.read(later=REFUSE_AFTER + 1) == ""
    copy.clock.time += REFUSE_AFTER + 1
    with pytest.raises(OrthancError, match="a copy, or an earlier state, of test/ORTHANC"):
        copy.read()
    with pytest.raises(OrthancError, match="a copy of test/ORTHANC"):
        source_of(ledger, copy.orthanc)
    name = separate(ledger, copy.orthanc)
    copy = Reader(ledger, clone, follows=locks.of("copy"))
    assert copy.read() == name
    assert set(new) <= rows(ledger)[name]
    original.read()
    assert not rows(ledger)[NAME] & set(new)


@ONE
def test_a_worker_that_does_not_follow_still_sees_which_index_it_is(ledger, orthanc):
    upload(orthanc)
    Reader(ledger, orthanc).read()
    other = Reader(ledger, orthanc, follows=lambda _: False)
    other.follower.step()
    assert other.follower.source == other.follower.candidate == NAME
    assert not other.follower.step()
    assert other.follower.is_index(NAME)
    other.clock.time += PROVEN_FOR + 1
    assert not other.follower.is_index(NAME)
    other.follower.step()
    assert other.follower.is_index(NAME)


@ONE
def test_what_was_deleted_since_is_no_gap(ledger, orthanc):
    first = upload(orthanc)
    reader = Reader(ledger, orthanc)
    reader.read()
    gone = upload(orthanc, 2)
    reader.read()
    for one in gone:
        orthanc.json("DELETE", f"/instances/{one}")
    new = upload(orthanc)
    for one in (reader, Reader(ledger, orthanc)):
        one.follower._comparison.open_gap = lambda: 1 / 0
        assert one.read(2 * RECOGNIZE_EVERY) == NAME
    assert rows(ledger) == {NAME: {*first, *gone, *new}}


@ONE
def test_all_was_deleted(ledger, orthanc):
    """Nothing is left by which the index could be recognized; it is still the same."""
    (gone,) = upload(orthanc)
    reader = Reader(ledger, orthanc)
    reader.read()
    orthanc.json("DELETE", f"/instances/{gone}")
    for one in (reader, Reader(ledger, orthanc)):
        for _ in range(3):
            assert one.read(2 * RECOGNIZE_EVERY) == NAME
        assert one.follower.is_index(NAME)
    new = upload(orthanc)
    reader = Reader(ledger, orthanc)
    assert reader.read() == NAME
    assert rows(ledger) == {NAME: {gone, *new}}


@ONE
def test_the_only_instance_is_overwritten(ledger, orthanc):
    content = bytearray(make_instance())
    orthanc.json("POST", "/instances", bytes(content))
    reader = Reader(ledger, orthanc)
    reader.read()
    time.sleep(1)  # Orthanc tells whole seconds
    content[-2] ^= 1
    orthanc.json("POST", "/instances", bytes(content))
    for one in (reader, Reader(ledger, orthanc)):
        assert one.read(2 * RECOGNIZE_EVERY) == NAME
    assert len(rows(ledger)[NAME]) == 1


@ONE
def test_a_ledger_of_before_knows_its_index_by_its_files(ledger, orthanc, start):
    first = upload(orthanc)
    Reader(ledger, orthanc).read()
    with ledger.writing() as connection:
        connection.execute(change_cursors.update().values(marks=None, name=None, seen_at=None))
    second = start("second")
    other = upload(second)
    assert Reader(ledger, orthanc).read() == NAME
    name = Reader(ledger, second).read()
    assert rows(ledger) == {NAME: set(first), name: set(other)}


@ONE
def test_a_change_that_becomes_visible_after_its_successor(ledger, orthanc):
    """As with several writers on PostgreSQL; here its row is taken out for a while."""
    reader = Reader(ledger, orthanc)
    upload(orthanc)
    reader.read()
    (late,) = upload(orthanc)
    new = upload(orthanc)
    index = orthanc.folder / "storage" / "index"
    orthanc.kill()
    with closing(sqlite3.connect(index)) as connection, connection:
        resource = "(SELECT internalId FROM Resources WHERE publicId = ?)"
        where = f"FROM Changes WHERE internalId = {resource}"
        taken = connection.execute(f"SELECT * {where}", [late]).fetchall()
        connection.execute(f"DELETE {where}", [late])
    orthanc.start()
    reader = Reader(ledger, orthanc)
    reader.follower._comparison.step = lambda *_, **_more: False
    reader.read()
    assert late not in rows(ledger)[NAME]
    assert set(new) <= rows(ledger)[NAME]
    assert ledger.indexes.get(NAME).missing
    orthanc.kill()
    with closing(sqlite3.connect(index)) as connection, connection:
        places = ",".join("?" * len(taken[0]))
        connection.executemany(f"INSERT INTO Changes VALUES ({places})", taken)
    orthanc.start()
    reader = Reader(ledger, orthanc)
    reader.follower._comparison.step = lambda *_, **_more: False
    reader.read()
    reader.read(SWEEP_EVERY + 1)
    assert late in rows(ledger)[NAME]
    assert not ledger.indexes.get(NAME).missing


@ONE
def test_what_never_becomes_visible_is_said_once_and_asked_for_no_more(
    ledger, orthanc, clock, caplog
):
    upload(orthanc)
    (gone,) = upload(orthanc)
    last = upload(orthanc)
    orthanc.json("DELETE", f"/instances/{gone}")
    reader = Reader(ledger, orthanc)
    reader.read()
    assert ledger.indexes.get(NAME).missing
    clock.now += MISSING_ALONE_FOR + 1
    reader.read(SWEEP_EVERY + 1)
    assert not ledger.indexes.get(NAME).missing
    assert set(last) <= rows(ledger)[NAME]
    reader.read(SWEEP_EVERY + 1)
    assert caplog.text.count("were never there to be read") == 1
    (event,) = events_of(ledger, "changes missing")
    assert (event.account, NAME in event.detail) == ("a", True)


@ONE
def test_an_index_in_the_place_of_another_is_followed_from_when_that_was_seen(
    ledger, orthanc, clock, tmp_path
):
    """The worker was down meanwhile: what it received before is followed, too."""
    upload(orthanc)
    Reader(ledger, orthanc).read()
    with ledger.writing() as connection:
        connection.execute(change_cursors.update().values(seen_at=time.time() - 60))
    swap(orthanc, tmp_path / "empty")
    new = upload(orthanc)
    inside = Reader(ledger, orthanc, since=time.time() + 60)
    outside = Reader(ledger, orthanc, since=time.time() + 60, was_down=True)
    name = outside.read()
    assert rows(ledger)[name] == set(new)
    assert inside.read() == name
