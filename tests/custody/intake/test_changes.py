"""What a real Orthanc reports in its changes is in the ledger, whatever became of its changes."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sql

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.configuration.options import DEFAULT_COMPARE_EVERY_SECONDS
from orthanc_gcp.custody.intake import selection
from orthanc_gcp.custody.intake.changes import NEW_FOR, NOTE_READ_EVERY, SWEEP_EVERY, Follower
from orthanc_gcp.custody.intake.identity import NEVER, READ_MARGIN
from orthanc_gcp.custody.intake.inventory import BESIDE_NEWS_EVERY, COMPARE_AT_MOST_EVERY
from orthanc_gcp.custody.intake.missing import MISSING_ALONE_FOR
from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.custody.intake.recognition import REFUSE_AFTER
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.intake.selection import RETRY_SHARE
from orthanc_gcp.errors import OrthancError, OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.front import Front
from tests.support.orthanc import Orthanc, free_port, wait_until
from tests.support.orthanc_life import file_of
from tests.support.simulated_orthanc import Index, SimulatedOrthanc
from tests.support.simulation import FakeClock
from tests.support.site import make_instance, make_study
from tests.support.transfers import events_of

SOURCE = "test/ORTHANC"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    # Without a cache it reads files each time.
    options = {"MaximumStorageCacheSize": 0}
    with Orthanc(tmp_path_factory.mktemp("orthanc"), options, plugins=()) as orthanc:
        yield orthanc


@pytest.fixture
def follow(ledger, orthanc):
    """A maker of followers of what comes from the test on; Orthanc knows whole seconds."""
    time.sleep(1 - time.time() % 1)
    since, clock = time.time(), FakeClock()

    def make(rule=None, on_arrival=lambda: None, url=orthanc.url):
        source = OrthancSource(OrthancRest(url), orthanc.folder / "storage")
        rules = Rules([rule or SendRule(to="a")], source.attributes)
        follower = Follower(ledger, source, rules, clock, on_arrival, since)
        follower.clock = clock
        return follower

    return make


@pytest.fixture
def start_orthanc(tmp_path):
    """One of its own, that lets instances be overwritten."""
    orthanc = Orthanc(tmp_path / "own", {"OverwriteInstances": True}, plugins=())
    orthanc.start()
    yield orthanc
    orthanc.kill()


def make_follower(ledger, orthanc, since=0.0):
    source = OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "storage")
    rules = Rules([SendRule(to="a")], source.attributes)
    return Follower(ledger, source, rules, FakeClock(), lambda: None, since)


def upload(orthanc, files):
    return [orthanc.json("POST", "/instances", file)["ID"] for file in files]


def states(ledger):
    with ledger.reading() as connection:
        query = sql.select(transfers.c.orthanc_id, transfers.c.state)
        return {row.orthanc_id: row.state for row in connection.execute(query)}


def read_all(follower):
    while follower.step():
        pass


def test_what_arrives_is_written_down_once(ledger, orthanc, follow):
    calls = []
    follower = follow(on_arrival=lambda: calls.append(len(states(ledger))))
    assert follower.source == ""
    read_all(follower)
    assert follower.source == SOURCE
    sent = upload(orthanc, make_study(instances=3))
    read_all(follower)
    assert states(ledger) == dict.fromkeys(sent, State.WAITING)
    assert calls[-1] == 3
    again = follow()
    read_all(again)
    assert len(states(ledger)) == 3
    assert ledger.indexes.get(SOURCE).seq == orthanc.json("GET", "/changes?last")["Last"]


def test_what_was_there_before_is_not_followed(ledger, orthanc, follow):
    read_all(follow())
    assert states(ledger) == {}


def test_changes_that_were_cleared_are_found_by_comparison(ledger, orthanc, follow):
    follower = follow()
    read_all(follower)
    lost = upload(orthanc, make_study(instances=2))
    orthanc.request("DELETE", "/changes")
    known = upload(orthanc, make_study(instances=2))
    read_all(follower)
    assert states(ledger).keys() == {*lost, *known}
    assert not ledger.arrivals.has_gap(SOURCE)


@pytest.mark.parametrize("cleared", [False, True])
def test_what_somebody_has_sent_elsewhere_is_sent_by_the_rules_too(
    ledger, orthanc, follow, cleared
):
    """While no worker ran: its row says nothing of what the rules want."""
    read_all(follow())
    (mine,) = upload(orthanc, [make_instance()])
    source = OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "storage")
    assert send_on_demand(ledger, source, "b", [mine]) == 1
    if cleared:
        orthanc.request("DELETE", "/changes")
    for _ in range(2):
        read_all(follow())
    with ledger.reading() as connection:
        query = sql.select(transfers.c.account, transfers.c.orthanc_id, transfers.c.priority)
        found = sorted(map(tuple, connection.execute(query)))
    assert found == [("a", mine, Priority.LIVE), ("b", mine, Priority.DEMANDED)]


@pytest.mark.parametrize("level", ["Instance", "Study"])
def test_what_is_being_sent_on_demand_is_not_sent_beside_it_by_a_rule(
    ledger, orthanc, follow, level
):
    follower = follow(SendRule(to="a", level=level))
    read_all(follower)
    (mine,) = upload(orthanc, [make_instance()])
    source = OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "storage")
    send_on_demand(ledger, source, "a", [mine])
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    (row,) = ledger.queue.claim("a", SOURCE, "batch", "worker", **limits)
    read_all(follower)
    assert ledger.queue.held("batch") == {row.id}
    assert ledger.queue.claim("a", SOURCE, "another", "worker", **limits) == []
    assert states(ledger) == {mine: State.SENDING}


def test_changes_that_were_read_and_cleared_are_no_gap(ledger, orthanc, follow):
    follower = follow()
    read_all(follower)
    upload(orthanc, [make_instance()])
    read_all(follower)
    orthanc.request("DELETE", "/changes")
    for _ in range(3):
        follower.clock.time += 2 * COMPARE_AT_MOST_EVERY
        read_all(follower)  # of which something may have become stable meanwhile
        assert not ledger.arrivals.has_gap(SOURCE)


def test_a_gap_is_known_after_a_crash_and_not_compared_too_often(ledger, orthanc, follow):
    first = follow()
    read_all(first)
    first._comparison._inventory.step = lambda _: 1 / 0
    lost = upload(orthanc, [make_instance()])
    orthanc.request("DELETE", "/changes")
    upload(orthanc, [make_instance()])
    first.clock.time += 2 * COMPARE_AT_MOST_EVERY  # it may have had to compare in the beginning
    with pytest.raises(ZeroDivisionError):
        read_all(first)
    assert ledger.arrivals.has_gap(SOURCE)
    read_all(first)  # it has just tried
    first.clock.time += COMPARE_AT_MOST_EVERY + 1
    with pytest.raises(ZeroDivisionError):
        read_all(first)  # Orthanc may have something new to say first
    read_all(follow())
    assert lost[0] in states(ledger)
    assert not ledger.arrivals.has_gap(SOURCE)


def test_changes_that_are_cleared_again_while_all_is_compared(ledger, orthanc, follow):
    """What came with them is behind what was compared before."""
    follower = follow()
    read_all(follower)
    lost = upload(orthanc, [make_instance()])
    orthanc.request("DELETE", "/changes")
    lost += upload(orthanc, [make_instance()])
    follower.clock.time += COMPARE_AT_MOST_EVERY + 1
    while not follower._comparison._running:
        assert follower.step()
    lost += upload(orthanc, [make_instance()])
    orthanc.request("DELETE", "/changes")
    lost += upload(orthanc, [make_instance()])
    read_all(follower)
    follower.clock.time += COMPARE_AT_MOST_EVERY + 1
    read_all(follower)
    assert states(ledger).keys() == set(lost)
    assert not ledger.arrivals.has_gap(SOURCE)


def test_a_comparison_that_breaks_off_is_made_again_soon(ledger, orthanc, follow, monkeypatch):
    follower = follow()
    with monkeypatch.context() as broken:
        broken.setattr(follower._comparison._inventory, "step", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            read_all(follower)
        read_all(follower)  # not at once
    assert not follower._comparison.has_ended
    follower.clock.time += COMPARE_AT_MOST_EVERY + 1
    read_all(follower)
    assert follower._comparison.has_ended


@pytest.mark.parametrize("away", ["Orthanc", "ledger"])
def test_a_comparison_that_breaks_off_after_a_page_leaves_out_nothing(
    ledger, orthanc, follow, monkeypatch, away
):
    """What differs is found, and cannot be described just then, or not be written down."""
    follower = follow()
    read_all(follower)
    lost = upload(orthanc, [make_instance()])
    orthanc.request("DELETE", "/changes")
    lost += upload(orthanc, [make_instance()])
    follower.clock.time += COMPARE_AT_MOST_EVERY + 1
    describe_each, record = follower._orthanc.describe_each, ledger.arrivals.record

    def describe_but_the_missed(resources, since=0):
        if since:
            raise OrthancUnavailableError("away")
        return describe_each(resources)

    def record_but_the_missed(*arrivals, other_versions=False, **more):
        if other_versions:
            raise sql.exc.InterfaceError("", {}, Exception("away"))
        return record(*arrivals, **more)

    with monkeypatch.context() as broken:
        if away == "Orthanc":
            broken.setattr(follower._orthanc, "describe_each", describe_but_the_missed)
        else:
            broken.setattr(ledger.arrivals, "record", record_but_the_missed)
        with pytest.raises((OrthancUnavailableError, sql.exc.InterfaceError)):
            read_all(follower)
    read_all(follower)
    assert ledger.arrivals.has_gap(SOURCE)
    follower.clock.time += COMPARE_AT_MOST_EVERY + 1
    read_all(follower)
    assert states(ledger).keys() == set(lost)
    assert not ledger.arrivals.has_gap(SOURCE)


def test_what_was_overwritten_while_changes_were_cleared_is_sent_anew(ledger, start_orthanc):
    """In the same second, and while nobody read: only its file is another one."""
    orthanc = start_orthanc
    content = bytearray(make_instance())
    (sent,) = upload(orthanc, [bytes(content)])
    make_follower(ledger, orthanc).step()
    read_all(make_follower(ledger, orthanc))
    before = ledger.arrivals.known(SOURCE, [sent])[sent].files
    content[-2] ^= 1
    upload(orthanc, [bytes(content)])
    orthanc.request("DELETE", "/changes")
    upload(orthanc, [make_instance()])
    read_all(make_follower(ledger, orthanc))
    after = ledger.arrivals.known(SOURCE, [sent])[sent].files
    assert before != after
    (described,) = OrthancSource(OrthancRest(orthanc.url), orthanc.folder).describe([sent])
    assert after == {described.attachment_uuid}


def test_everything_is_compared_at_the_start_and_again(ledger, orthanc, follow):
    follower = follow()
    read_all(follower)
    sent = upload(orthanc, make_study(instances=2))
    read_all(follower)
    for make in (lambda: follow(), lambda: follower):
        with ledger.writing() as connection:
            connection.execute(transfers.delete().where(transfers.c.orthanc_id == sent[0]))
        one = make()
        one.clock.time += DEFAULT_COMPARE_EVERY_SECONDS + 1
        read_all(one)
        assert states(ledger) == dict.fromkeys(sent, State.WAITING)


def test_what_was_withdrawn_and_is_there_waits_again(ledger, orthanc, follow):
    read_all(follow())
    sent = upload(orthanc, [make_instance()])
    read_all(follow())
    with ledger.writing() as connection:
        values = {"state": State.WITHDRAWN, "reason": "deleted"}
        connection.execute(transfers.update().values(values))
    read_all(follow())
    assert states(ledger) == {sent[0]: State.WAITING}


def test_an_index_that_was_replaced_is_read_from_its_start(ledger, orthanc, follow):
    sent = upload(orthanc, [make_instance()])
    since = time.time() - 1
    ledger.indexes.begin(SOURCE, 10**6, since)  # as far as the old one was read
    follower = follow()
    assert follower.step()
    assert ledger.arrivals.has_gap(SOURCE)
    read_all(follower)
    assert sent[0] in states(ledger)
    assert ledger.indexes.get(SOURCE).since == since


@pytest.mark.parametrize("level", ["Series", "Study"])
def test_what_is_held_goes_when_it_is_stable(ledger, orthanc, follow, level):
    follower = follow(SendRule(to="a", level=level))
    read_all(follower)
    sent = upload(orthanc, make_study(instances=2))
    read_all(follower)
    assert states(ledger) == dict.fromkeys(sent, State.HELD)

    def released():
        read_all(follower)
        return set(states(ledger).values()) == {State.WAITING}

    wait_until(released, 30)


def test_what_never_is_told_stable_is_asked_for(ledger, orthanc, follow):
    follower = follow(SendRule(to="a", level="Study"))
    read_all(follower)
    held = upload(orthanc, [make_instance()])
    read_all(follower)
    orthanc.request("DELETE", f"/instances/{held[0]}")  # so it never is told stable
    follower.clock.time += SWEEP_EVERY + 1
    read_all(follower)
    assert states(ledger) == {held[0]: State.WAITING}


@pytest.fixture
def hidden(orthanc, tmp_path):
    """A file that Orthanc cannot read, uploaded within the test; and how it can again."""

    def hide():
        content = make_instance()
        (sent,) = upload(orthanc, [content])
        files = (orthanc.folder / "storage").glob("*/*/*")
        place = next(one for one in files if one.is_file() and one.read_bytes() == content)
        shutil.move(place, tmp_path / sent)
        return sent, lambda: shutil.move(tmp_path / sent, place)

    return hide


RULE = SendRule(to="a", tags={"PhotometricInterpretation": "MONO*"})
"""Of an attribute that Orthanc does not index."""


def test_an_instance_that_cannot_be_read_holds_up_nobody(ledger, orthanc, follow, hidden):
    follower = follow(RULE)
    read_all(follower)
    unreadable, show = hidden()
    sent = upload(orthanc, [make_instance()])
    read_all(follower)
    assert states(ledger) == {sent[0]: State.WAITING}
    assert ledger.arrivals.unreadable(SOURCE) == [unreadable]
    show()
    read_all(follower)
    assert len(states(ledger)) == 1
    follower.clock.time += SWEEP_EVERY + 1
    read_all(follower)
    assert states(ledger).keys() == {unreadable, *sent}
    assert ledger.arrivals.unreadable(SOURCE) == []


@pytest.fixture
def slow(ledger, orthanc):
    """A maker of a follower, and of an instance whose attributes Orthanc does not give in time."""
    with Front() as front:
        front.target = orthanc.url
        time.sleep(1.1 - time.time() % 1)
        source = OrthancSource(OrthancRest(front.url, timeout=1), orthanc.folder / "storage")
        rules, clock = Rules([RULE], source.attributes), FakeClock()
        follower = Follower(ledger, source, rules, clock, lambda: None, time.time())
        follower.clock = clock
        read_all(follower)
        (sent,) = upload(orthanc, [make_instance()])
        front.stalls = f"/instances/{sent}/tags"
        yield follower, sent, front
        front.shutdown()


def test_a_newer_version_that_could_not_be_read_at_first_is_sent(ledger, tmp_path):
    """It has come in the second of the one before: only its file is another one."""
    options = {"OverwriteInstances": True, "MaximumStorageCacheSize": 0}
    with Orthanc(tmp_path / "own", options, plugins=()) as orthanc:
        source = OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "nothing")
        rules = Rules([RULE], source.attributes)
        clock = FakeClock()
        follower = Follower(ledger, source, rules, clock, lambda: None, 0.0)
        read_all(follower)
        content = bytearray(make_instance())
        time.sleep(1.05 - time.time() % 1)
        (sent,) = upload(orthanc, [bytes(content)])
        read_all(follower)
        before = ledger.arrivals.known(SOURCE, [sent])[sent].files
        content[-2] ^= 1
        upload(orthanc, [bytes(content)])
        (described,) = source.describe([sent])
        file = described.attachment_uuid
        place = orthanc.folder / "storage" / file[:2] / file[2:4] / file
        shutil.move(place, tmp_path / "hidden")
        read_all(follower)
        assert ledger.arrivals.unreadable(SOURCE) == [sent]
        assert ledger.arrivals.known(SOURCE, [sent])[sent].files == before
        shutil.move(tmp_path / "hidden", place)
        clock.time += SWEEP_EVERY + 1
        read_all(follower)
        assert not ledger.arrivals.unreadable(SOURCE)
        assert ledger.arrivals.known(SOURCE, [sent])[sent].files == {file}


def test_an_instance_that_takes_orthanc_too_long_holds_up_nobody(ledger, orthanc, slow):
    follower, too_long, front = slow
    sent = upload(orthanc, [make_instance()])
    read_all(follower)
    assert states(ledger) == {sent[0]: State.WAITING}
    assert ledger.arrivals.unreadable(SOURCE) == [too_long]
    front.stalls = ""
    follower.clock.time += SWEEP_EVERY + 1
    read_all(follower)
    assert states(ledger).keys() == {too_long, *sent}
    assert ledger.arrivals.unreadable(SOURCE) == []


def test_of_those_that_take_too_long_one_is_tried_now_and_then(ledger, orthanc, slow, monkeypatch):
    follower, too_long, front = slow
    also = upload(orthanc, [make_instance() for _ in range(2)])
    front.stalls = "/tags"
    read_all(follower)
    assert set(ledger.arrivals.unreadable(SOURCE)) == {too_long, *also}
    asked = len([path for _, path, _ in front.heads if "/tags" in path])
    attributes = follower._orthanc.attributes

    def taking_seconds(*question):
        follower.clock.time += 10
        return attributes(*question)

    monkeypatch.setattr(follower._selector._rules, "_attributes", taking_seconds)
    for later, tried in ((SWEEP_EVERY, 1), (SWEEP_EVERY, 1), (10 * RETRY_SHARE, 2)):
        follower.clock.time += later + 1
        read_all(follower)
        assert len([path for _, path, _ in front.heads if "/tags" in path]) == asked + tried


def test_what_a_restored_index_may_not_have_is_remembered_while_it_is_followed(
    ledger, orthanc, follow
):
    follower = follow()
    read_all(follower)
    assert list(follower.undone(SOURCE)) == []
    asked = []
    sql.event.listen(ledger.engine, "before_cursor_execute", lambda *_: asked.append(1))
    assert list(follower.undone(SOURCE)) == []
    assert asked == []
    ledger.indexes.undo("another", 1.0, 2.0)
    assert list(follower.undone("another")) == [[1.0, 2.0]]
    ledger.indexes.undo(SOURCE, 1.0, 2.0)
    for later in (follow(), follower):  # another worker, and this one after it
        follower._recognition._follows = lambda _: False
        follower.clock.time += 60
        follower.step()
        read_all(later)
        assert list(later.undone(SOURCE)) == [[1.0, 2.0]]


@pytest.fixture
def front(orthanc):
    with Front() as front:
        front.target = orthanc.url
        yield front
        front.shutdown()


def make_behind(ledger, orthanc, front, since, **more):
    """A follower that asks by a proxy."""
    source = OrthancSource(OrthancRest(front.url, timeout=1), orthanc.folder / "storage")
    rules, clock = Rules([SendRule(to="a")], source.attributes), FakeClock()
    follower = Follower(ledger, source, rules, clock, lambda: None, since, **more)
    follower.clock = clock
    return follower


@pytest.mark.parametrize("fate", ["stall", "reset"])
def test_an_instance_that_is_never_described_holds_up_nobody(ledger, orthanc, front, fate):
    """Whatever else is asked for with it is not answered either."""
    time.sleep(1.1 - time.time() % 1)
    since = time.time()
    follower = make_behind(ledger, orthanc, front, since)
    read_all(follower)
    files = [*make_study(instances=3), *make_study(instances=2)]
    never, *sent = upload(orthanc, files)
    front.dislikes = {never.encode(): fate}
    read_all(follower)
    assert states(ledger) == dict.fromkeys(sent, State.WAITING)
    assert ledger.arrivals.unreadable(SOURCE) == [never]
    again = make_behind(ledger, orthanc, front, since)  # after a restart
    read_all(again)
    sent += upload(orthanc, [make_instance()])
    again.clock.time += SWEEP_EVERY + 1
    read_all(again)
    assert states(ledger) == dict.fromkeys(sent, State.WAITING)
    front.dislikes = {}
    again.clock.time += 100 * SWEEP_EVERY
    read_all(again)
    assert states(ledger).keys() == {never, *sent}
    assert ledger.arrivals.unreadable(SOURCE) == []


def test_some_that_are_refused_in_a_row_hold_up_no_other(ledger, orthanc, front):
    """Neither what comes behind them nor the comparison, which asks for them alone."""
    time.sleep(1.1 - time.time() % 1)
    since = time.time()
    follower = make_behind(ledger, orthanc, front, since)
    read_all(follower)
    refused = upload(orthanc, make_study(instances=4))
    sent = upload(orthanc, make_study(instances=2))
    front.dislikes = {name.encode(): 500 for name in refused}
    read_all(follower)
    assert states(ledger) == dict.fromkeys(sent, State.WAITING)
    again = make_behind(ledger, orthanc, front, since)  # after a restart
    read_all(again)
    assert again._comparison.has_ended
    assert sorted(ledger.arrivals.unreadable(SOURCE)) == sorted(refused)


def test_what_is_recognized_but_cannot_be_read_has_not_succeeded(ledger, orthanc, front):
    time.sleep(1.1 - time.time() % 1)
    follower = make_behind(ledger, orthanc, front, time.time())
    sent = upload(orthanc, [make_instance()])
    read_all(follower)
    sent += upload(orthanc, make_study(instances=2))
    front.hides = {"/tools/bulk-content": 403}
    for _ in range(5):
        with pytest.raises(OrthancRefusedError, match="403"):
            follower.step()
        follower.clock.time += REFUSE_AFTER / 3
    assert follower.cannot_read
    assert follower.candidate == "", "another worker may read it"
    front.hides = {}
    read_all(follower)
    assert states(ledger) == dict.fromkeys(sent, State.WAITING)
    assert (follower.candidate, follower.cannot_read) == (SOURCE, False)


def test_who_could_not_read_an_index_waits_whether_another_worker_follows_it(
    ledger, orthanc, front
):
    time.sleep(1.1 - time.time() % 1)
    followed = [SOURCE]
    follower = make_behind(ledger, orthanc, front, time.time(), follows=followed.__contains__)
    upload(orthanc, [make_instance()])
    read_all(follower)
    (new,) = upload(orthanc, [make_instance()])
    front.dislikes = {new.encode(): 403}
    with pytest.raises(OrthancRefusedError):
        follower.step()
    followed.clear()
    for _ in range(3):
        with pytest.raises(OrthancRefusedError, match="403"):
            follower.step()
        assert follower.candidate == SOURCE, "nobody else may want it"
        follower.clock.time += REFUSE_AFTER / 2
    follower.clock.time += REFUSE_AFTER
    read_all(follower)
    assert not follower.cannot_read
    followed.append(SOURCE)
    with pytest.raises(OrthancRefusedError, match="403"):
        read_all(follower)


class Listing(Front):
    """A proxy that dislikes pages of instances, or the instances that it is asked for by name."""

    fate: int | str = 0
    named = b""

    @property
    def dislikes(self):
        is_page = "/instances?" in self.heads[-1][1] and "expand" in self.heads[-1][1]
        return (
            {b"": self.fate} if self.fate and is_page else {self.named: 500} if self.named else {}
        )

    @dislikes.setter
    def dislikes(self, _):
        """It follows from what is asked for."""


@pytest.mark.parametrize("fate", [500, "stall", "reset"])
def test_all_is_compared_though_a_page_of_instances_is_never_listed(ledger, orthanc, fate):
    """As one of them is in the way: which one that is, is found by asking for each."""
    with Listing() as front:
        front.target = orthanc.url
        time.sleep(1.1 - time.time() % 1)
        follower = make_behind(ledger, orthanc, front, time.time())
        read_all(follower)
        lost = upload(orthanc, make_study(instances=3))
        orthanc.request("DELETE", "/changes")
        known = upload(orthanc, make_study(instances=2))
        front.named, front.fate = lost[1].encode(), fate
        read_all(follower)
        assert states(ledger).keys() == {lost[0], lost[2], *known}
        assert ledger.arrivals.unreadable(SOURCE) == [lost[1]]
        assert not ledger.arrivals.has_gap(SOURCE)
        front.shutdown()


@pytest.mark.parametrize("fate", [500, "stall", "reset"])
def test_an_index_is_known_though_an_instance_is_not_described_any_more(
    ledger, orthanc, front, fate
):
    time.sleep(1.1 - time.time() % 1)
    since = time.time()
    sent = upload(orthanc, make_study(instances=3))
    read_all(make_behind(ledger, orthanc, front, since))
    front.dislikes = {sent[1].encode(): fate}
    again = make_behind(ledger, orthanc, front, since)
    sent += upload(orthanc, [make_instance()])
    read_all(again)
    assert states(ledger) == dict.fromkeys(sent, State.WAITING)


def test_what_cannot_be_read_and_is_deleted_is_said(ledger, orthanc, follow, hidden, caplog):
    follower = follow(RULE)
    read_all(follower)
    unreadable, _ = hidden()
    read_all(follower)
    orthanc.request("DELETE", f"/instances/{unreadable}")
    follower.clock.time += SWEEP_EVERY + 1
    read_all(follower)
    assert ledger.arrivals.unreadable(SOURCE) == []
    assert f"are not there any more ({unreadable})" in caplog.text
    (event,) = events_of(ledger, "changes missing")
    assert unreadable in event.detail


def test_those_that_orthanc_still_refuses_to_describe_are_in_the_way_of_no_step(
    ledger, orthanc, follow, monkeypatch
):
    follower = follow(SendRule(to="a"))
    read_all(follower)
    ledger.arrivals.change_unreadable(SOURCE, ["1", "2", "3"])

    def refuse(resources, since):
        raise OrthancRefusedError("answered 500", status=500)

    with monkeypatch.context() as patched:
        patched.setattr(follower._orthanc, "describe", refuse)
        follower.clock.time += SWEEP_EVERY + 1
        read_all(follower)
    assert ledger.arrivals.unreadable(SOURCE) == ["1", "2", "3"]
    follower.clock.time += SWEEP_EVERY + 1
    read_all(follower)
    assert ledger.arrivals.unreadable(SOURCE) == [], "Orthanc does not have them"


def test_nothing_goes_on_when_very_many_cannot_be_read(
    ledger, orthanc, follow, hidden, monkeypatch
):
    follower = follow(RULE)
    read_all(follower)
    before = ledger.indexes.get(SOURCE)
    _, show = hidden()
    monkeypatch.setattr(selection, "MOST_UNREADABLE", 0)
    with pytest.raises(OrthancError, match="cannot read what it has stored"):
        read_all(follower)
    assert ledger.indexes.get(SOURCE) == before
    show()
    read_all(follower)
    assert len(states(ledger)) == 1


def test_what_can_be_read_again_makes_room_for_others(ledger, orthanc, follow, hidden, monkeypatch):
    """A share was away for a while; one file is damaged since then."""
    monkeypatch.setattr(selection, "MOST_UNREADABLE", 1)
    follower = follow(RULE)
    read_all(follower)
    back, show = hidden()
    read_all(follower)
    damaged, _ = hidden()
    (sent,) = upload(orthanc, [make_instance()])
    with pytest.raises(OrthancError, match="cannot read what it has stored"):
        read_all(follower)
    show()
    seen_at = ledger.indexes.get(SOURCE).seen_at
    follower.clock.time += SWEEP_EVERY + 1
    with pytest.raises(OrthancError, match="cannot read what it has stored"):
        read_all(follower)
    assert ledger.indexes.get(SOURCE).seen_at == seen_at, "it does not count as followed"
    read_all(follower)
    assert states(ledger) == dict.fromkeys([back, sent], State.WAITING)
    assert ledger.arrivals.unreadable(SOURCE) == [damaged]


def test_late_changes_wait_for_room_and_keep_nobody_from_making_it(
    simulated_follower, ledger, monkeypatch
):
    follower, index, damaged = simulated_follower
    monkeypatch.setattr(selection, "MOST_UNREADABLE", 1)
    before = states(ledger).keys()
    first, late = index.receive(make_instance()), index.receive(make_instance(), hidden=True)
    sent = index.receive(make_instance())
    damaged |= {first, late}
    read_all(follower)
    assert ledger.arrivals.unreadable(SOURCE) == [first]
    index.show_hidden()
    follower.clock.time += SWEEP_EVERY + 1
    with pytest.raises(OrthancError, match="cannot read what it has stored"):
        read_all(follower)
    damaged -= {first}
    follower.clock.time += SWEEP_EVERY + 1
    read_all(follower)
    assert states(ledger).keys() - before == {first, sent}
    assert ledger.arrivals.unreadable(SOURCE) == [late]


@pytest.fixture
def simulated_follower(ledger):
    """A follower, the index that it follows, and those whose attributes cannot be read."""
    clock, damaged = FakeClock(), set()

    def attributes(name, _numbers):
        if name in damaged:
            raise OrthancRefusedError("answered 500", status=500)
        return {"0028,0004": "MONOCHROME2"}

    index = Index(clock, random.Random(1))
    orthanc = SimulatedOrthanc(index)
    source = OrthancSource(OrthancRest(orthanc.url), orthanc.storage)
    since = clock.utc().timestamp()
    follower = Follower(ledger, source, Rules([RULE], attributes), clock, lambda: None, since)
    follower.clock = clock
    read_all(follower)
    index.receive(make_instance())
    read_all(follower)  # with something in it, it is compared once more
    yield follower, index, damaged
    orthanc.close()


def test_all_is_compared_though_something_new_comes_all_the_time(ledger, simulated_follower):
    follower, index, _ = simulated_follower
    lost = index.receive(make_instance())
    index.clear_changes()
    for _ in range(int(2 * COMPARE_AT_MOST_EVERY / BESIDE_NEWS_EVERY)):
        index.receive(make_instance())
        assert follower.step()
        follower.clock.time += BESIDE_NEWS_EVERY
    assert lost in states(ledger)
    assert not ledger.arrivals.has_gap(SOURCE)


def test_an_orthanc_that_is_away_is_an_error(ledger, follow):
    follower = follow(url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(OrthancUnavailableError):
        follower.step()
    assert follower.source == ""


def test_new_studies_are_said_before_they_count_as_read(ledger, clock, start_orthanc):
    clock.now = time.time()
    source = OrthancSource(OrthancRest(start_orthanc.url), start_orthanc.folder / "storage")
    found = []

    def note(index, studies):
        (cursor,) = ledger.indexes.all()
        found.append((index == cursor.source, cursor.seq, *studies))

    def make():
        rules = Rules([], source.attributes)
        clock = FakeClock()
        return Follower(ledger, source, rules, clock, lambda: None, 0.0, on_new_studies=note)

    follower = make()
    follower.step()
    study = make_study(instances=2, size=16)
    upload(start_orthanc, study)
    for _ in range(20):
        follower.step()
    ((is_index, seq, identifier),) = found
    assert is_index
    (known,) = start_orthanc.json("GET", "/studies")
    assert identifier == known
    (cursor,) = ledger.indexes.all()
    assert cursor.seq > seq
    again = make()
    for _ in range(20):
        again.step()
    assert len(found) == 1, "what was read is not said again"


def test_a_study_from_long_ago_is_not_new(ledger, clock, start_orthanc):
    clock.now = time.time() + NEW_FOR + 60
    source = OrthancSource(OrthancRest(start_orthanc.url), start_orthanc.folder / "storage")
    found = []
    upload(start_orthanc, make_study(instances=1, size=16))
    rules, clock = Rules([], source.attributes), FakeClock()
    note = lambda *studies: found.append(studies)  # noqa: E731
    follower = Follower(ledger, source, rules, clock, lambda: None, 0.0, on_new_studies=note)
    for _ in range(20):
        follower.step()
    assert found == []


def test_what_came_while_only_retrievals_were_wanted_is_sent_by_no_later_rule(
    ledger, start_orthanc
):
    source = OrthancSource(OrthancRest(start_orthanc.url), start_orthanc.folder / "storage")
    upload(start_orthanc, make_study(instances=1, size=16))
    without = Follower(
        ledger, source, Rules([], source.attributes), FakeClock(), lambda: None, NEVER
    )
    while without.step():
        pass
    upload(start_orthanc, make_study(instances=2, size=16))
    while without.step():
        pass
    time.sleep(1 - time.time() % 1)
    with_rules = make_follower(ledger, start_orthanc, time.time())
    new = upload(start_orthanc, make_study(instances=1, size=16))
    for _ in range(20):
        with_rules.step()
    assert states(ledger).keys() == set(new)
    (cursor,) = ledger.indexes.all()
    assert cursor.since < NEVER
    again = make_follower(ledger, start_orthanc, time.time())
    for _ in range(20):
        again.step()
    assert states(ledger).keys() == set(new), "a comparison adds none"


class Noting:
    """A follower that notes up to which moment it has read all."""

    def __init__(self, ledger, clock):
        self.ledger, self.clock, self.time = ledger, clock, FakeClock()
        self.index = Index(self.time, random.Random(1))
        self.orthanc = SimulatedOrthanc(self.index)
        self.moments: list[float] = []
        self.since = self.time.utc().timestamp()
        source = OrthancSource(OrthancRest(self.orthanc.url), self.orthanc.storage)
        self.follower = Follower(
            ledger,
            source,
            Rules([SendRule(to="a")], source.attributes),
            self.time,
            lambda: None,
            self.since,
            on_read=self.moments.append,
        )

    def receive(self, instance: int, *, hidden: bool = False) -> None:
        self.index.receive(file_of(0, 0, 0, instance, 0), hidden=hidden)

    def read(self, later: float = 0.0) -> float | None:
        """Read all some time later; what is noted then."""
        self.time.time += later
        self.clock.now = self.time.utc().timestamp()
        before = len(self.moments)
        read_all(self.follower)
        assert len(self.moments) <= before + 1
        return self.moments[-1] if len(self.moments) > before else None

    def read_before(self) -> float:
        """Up to which moment all was read, if nothing is unread now."""
        return self.time.utc().timestamp() - READ_MARGIN


@pytest.fixture
def noting(sqlite_ledger, clock) -> Iterator[Noting]:
    made = Noting(sqlite_ledger, clock)
    yield made
    made.orthanc.close()


def test_up_to_when_all_was_read_is_noted_now_and_then(noting):
    assert noting.read() is None, "it is known by its name alone, which may change"
    noting.receive(1)
    assert noting.read(1) is None, "all was compared first"
    assert noting.read(1) == noting.since, "nothing of before is followed"
    assert noting.read(NOTE_READ_EVERY - 1) is None
    assert noting.read(2 * READ_MARGIN) == noting.read_before()
    noting.receive(2)
    assert noting.read(1) is None
    assert noting.read(NOTE_READ_EVERY) == noting.read_before()


def test_nothing_is_noted_while_changes_are_missing(noting):
    noting.receive(1)
    noting.read(2 * READ_MARGIN)
    noting.receive(2, hidden=True)
    noting.receive(3)
    noting.read(1)
    assert noting.read(NOTE_READ_EVERY) is None
    assert noting.read(MISSING_ALONE_FOR) == noting.read_before(), "they are old by now"


def test_nothing_is_noted_while_an_instance_cannot_be_read(noting):
    noting.receive(1)
    noting.read(2 * READ_MARGIN)
    noting.ledger.arrivals.change_unreadable(noting.follower.source, ["some"])
    assert noting.read(NOTE_READ_EVERY + 1) is None
    assert noting.read(1) == noting.read_before(), "Orthanc does not have it any more"


def test_nothing_is_noted_while_all_is_compared(noting, monkeypatch):
    noting.receive(1)
    noting.read(2 * READ_MARGIN)
    assert noting.read(1)
    noting.receive(2)
    noting.index.clear_changes()
    noting.receive(3)
    monkeypatch.setattr(noting.follower._comparison._inventory, "step", lambda _: [])
    noting.time.time += NOTE_READ_EVERY + 1
    before = list(noting.moments)
    for _ in range(5):
        noting.follower.step()
    assert noting.moments == before
    monkeypatch.undo()
    for _ in range(2):
        noting.read(COMPARE_AT_MOST_EVERY + 1)
    assert noting.moments[-1] > before[-1]
    assert len(states(noting.ledger)) == 3


def test_a_clock_that_was_set_back_sets_back_what_is_noted(noting):
    noting.receive(1)
    noting.read(10 * READ_MARGIN)
    for seconds in (1, 5 * READ_MARGIN):
        noting.time.wall -= timedelta(seconds=seconds + 1)
        assert noting.read(1) == noting.read_before()
    assert noting.read(NOTE_READ_EVERY / 2) is None
