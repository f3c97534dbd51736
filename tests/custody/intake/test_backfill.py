"""A backfill, step by step, over a real Orthanc and a real ledger; nothing is sent."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.configuration import BackfillOptions, SendRule
from orthanc_gcp.custody.intake.backfill import Backfill
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Stage
from orthanc_gcp.custody.intake.changes import SWEEP_EVERY, Follower
from orthanc_gcp.custody.intake.protection import Protection
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.reporting.backfill_progress import progress
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome, Transfer
from orthanc_gcp.ledger.schema import Priority, State, key_values, transfers
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.orthanc.recycling import StorageLimits
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.front import Front
from tests.support.orthanc import Orthanc
from tests.support.site import ACCOUNT, make_instance, make_study
from tests.support.transfers import events_of

_IS_RUN = key_values.c.name.like("backfill:%")


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 12, tzinfo=UTC).astimezone()

    def now(self) -> float:
        return self.time.timestamp()

    def utc(self) -> datetime:
        return self.time.astimezone(UTC)


class Desk:
    """Follower and backfill over an Orthanc, stepped by the test; nothing is sent."""

    def __init__(
        self,
        folder: Path,
        orthanc: Orthanc,
        options: BackfillOptions,
        *accounts: str,
        tags: dict[str, str] | None = None,
        store: str = "first",
        url: str = "",
        patients: int = 0,
    ) -> None:
        stores = {account: StoreName(store) for account in accounts}
        self.ledger = Ledger(database.connect(database.url_of("", folder)), stores=stores)
        prepare(self.ledger.engine)
        self.ledger.destinations.register()
        self.orthanc, self.options, self.clock = orthanc, options, Watch()
        archive = OrthancSource(OrthancRest(url or orthanc.url, timeout=2), folder)
        sends = [SendRule(to=account, tags=tags or {}) for account in accounts]
        rules = Rules(sends, archive.attributes)
        since = self.ledger.now() + 1  # Orthanc tells whole seconds
        self.follower = Follower(self.ledger, archive, rules, self.clock, lambda: None, since)
        self.follower.step()
        self.backlog = BackfillStudies(self.ledger, self.follower.source, accounts)
        protection = Protection(
            self.ledger,
            archive,
            self.clock,
            enabled=True,
            up_to_percent=80,
            configured=StorageLimits(patients=patients),
        )
        self.backfill = Backfill(
            self.ledger,
            archive,
            rules,
            options,
            self.clock,
            lambda: False,
            lambda: None,
            self.follower.is_index,
            protection.recycles,
        )

    def fill(self) -> None:
        """Until nothing can be done for now."""
        while self.step():
            pass

    def step(self) -> bool:
        return self.backfill.step(self.follower.source)

    @contextmanager
    def stopped(self) -> Iterator[Path]:
        """Orthanc's storage folder, while it is not there; then its follower has read it."""
        self.orthanc.kill()
        with pytest.raises(OrthancError):
            self.follower.step()
        yield self.orthanc.folder / "storage"
        self.orthanc.start()
        while self.follower.step():
            pass

    def is_open(self) -> bool:
        return self.backfill.is_open(self.follower.source)

    def progress(self) -> dict[str, Any]:
        found = progress(self.ledger, self.backlog, self.options, self.clock.utc().astimezone())
        assert found is not None
        return found.as_json()

    def send(self, count: int) -> list[Transfer]:
        """Confirm the next that wait, so many at most."""
        rows = self.claim(count)
        self.ledger.queue.settle("batch", [Outcome(row.id, State.ACKNOWLEDGED) for row in rows])
        self.ledger.confirmations.confirm({row.id: self.ledger.now() for row in rows})
        return rows

    def claim(self, count: int) -> list[Transfer]:
        return self.ledger.queue.claim(
            ACCOUNT,
            self.follower.source,
            "batch",
            "worker",
            most_instances=count,
            most_bytes=10**9,
            most_batches=9,
        )

    def rows(self) -> list[Any]:
        with self.ledger.reading() as connection:
            return list(connection.execute(sql.select(transfers).order_by(transfers.c.id)))


@pytest.fixture
def orthanc(tmp_path, request):
    configuration = {
        "MaximumStorageCacheSize": 0,  # it gives no file from its memory
        "StableAge": 3600,  # that a study is complete is a change, for which a backfill would wait
        **getattr(request, "param", {}),
    }
    with Orthanc(tmp_path / "orthanc", configuration, plugins=()) as orthanc:
        yield orthanc


@pytest.fixture
def desk(tmp_path, orthanc):
    desks = []

    def make(options=None, accounts=(ACCOUNT,), **more):
        desks.append(Desk(tmp_path, orthanc, options or BackfillOptions(), *accounts, **more))
        return desks[-1]

    yield make
    for one in desks:
        one.ledger.engine.dispose()


def upload(orthanc: Orthanc, files: list[bytes]) -> list[str]:
    return [orthanc.json("POST", "/instances", content)["ID"] for content in files]


def receive(orthanc: Orthanc, patient: str) -> str:
    """A new study of a patient."""
    return orthanc.json("POST", "/instances", make_instance(patient=patient))["ParentStudy"]


def test_what_a_ledger_has_forgotten_of_a_study_is_written_down_again(orthanc, desk):
    """A standby of PostgreSQL may take over without the last transactions."""
    sent = upload(orthanc, make_study(instances=9))
    one = desk(BackfillOptions(max_queued_instances=4))
    one.fill()
    with one.ledger.reading() as connection:
        run = connection.execute(sql.select(key_values).where(_IS_RUN)).one()
    one.send(4)
    one.fill()
    with one.ledger.writing() as connection:
        last = sql.select(sql.func.max(transfers.c.id) - 4).scalar_subquery()
        connection.execute(transfers.delete().where(transfers.c.id > last))
        connection.execute(key_values.update().where(_IS_RUN).values(value=run.value))
    for _ in range(9):
        one.fill()
        one.send(4)
    assert {row.orthanc_id for row in one.rows()} == set(sent)


@pytest.mark.parametrize(("most", "waiting"), [(7, 6), (1, 2)])
def test_only_so_many_wait_at_once(orthanc, desk, most, waiting):
    """But one instance at least, to however many accounts it goes."""
    sent = [*upload(orthanc, make_study(instances=20)), *upload(orthanc, make_study(instances=5))]
    one = desk(BackfillOptions(max_queued_instances=most), ("other", ACCOUNT))
    one.fill()
    assert one.backlog.unsent() == waiting  # each goes to two accounts
    confirmed = 0
    while rows := one.send(2):
        confirmed += len(rows)
        with one.ledger.writing() as connection:  # the other account takes as many
            mine = (transfers.c.account == "other") & (transfers.c.state == State.WAITING)
            chosen = sql.select(transfers.c.id).where(mine).limit(len(rows))
            connection.execute(
                transfers.update().where(transfers.c.id.in_(chosen)).values(state=State.CONFIRMED)
            )
        one.fill()
        assert one.backlog.unsent() <= max(most, waiting)
    assert confirmed == len(sent)
    assert one.backlog.run.stage is Stage.FINISHED
    assert one.progress()["Studies"] == {"Done": 2, "Total": 2}


def test_what_comes_meanwhile_is_live_and_never_written_down_twice(orthanc, desk):
    files = make_study(instances=6)
    before = upload(orthanc, files[:3])
    one = desk()
    while one.backlog.run is None or one.backlog.run.stage is Stage.LISTING:
        one.step()
    live = upload(orthanc, files[3:])
    one.fill()  # it looks the study up, and waits for the follower
    assert one.rows() == []
    one.follower.step()
    one.fill()
    assert {row.orthanc_id: row.priority for row in one.rows()} == {
        **dict.fromkeys(before, Priority.BACKFILL),
        **dict.fromkeys(live, Priority.LIVE),
    }
    assert len(one.rows()) == 6


def test_what_is_deleted_is_left_out(orthanc, desk, caplog):
    gone = upload(orthanc, make_study(instances=3))
    half = upload(orthanc, make_study(instances=2))
    one = desk(BackfillOptions(max_queued_instances=1))
    one.fill()
    (waiting,) = one.rows()
    study = orthanc.json("GET", f"/instances/{gone[0]}/study")["ID"]
    orthanc.json("DELETE", f"/studies/{study}")
    orthanc.json("DELETE", f"/instances/{half[1]}")
    one.follower.step()
    while one.send(1):
        one.fill()
    assert {row.orthanc_id for row in one.rows()} == {waiting.orthanc_id, half[0]}
    assert one.backlog.run.stage is Stage.FINISHED
    told = one.progress()
    assert told["Studies"] == {"Done": 2, "Total": 2}
    gone = 1 if waiting.orthanc_id == half[1] else 2
    assert (told["GoneStudies"], told["RecycledStudies"]) == (gone, 0)
    assert f"all 2 studies are done, but {gone} of them were gone" in caplog.text
    assert events_of(one.ledger, "studies missing") == []


@pytest.mark.parametrize("looked_up", [False, True])
@pytest.mark.parametrize("orthanc", [{"MaximumPatientCount": 5}], indirect=True)
def test_what_is_recycled_before_its_turn_is_said(orthanc, desk, caplog, looked_up):
    """It was not protected, as nothing of it is written down yet."""
    oldest = [receive(orthanc, name) for name in "ABC"]
    time.sleep(1.1 - time.time() % 1)  # Orthanc tells of whole seconds when a study was changed
    for name in "DE":
        receive(orthanc, name)
    one = desk(BackfillOptions(max_queued_instances=1), patients=5)
    while one.backlog.left() == 0:
        one.step()
    if looked_up:
        one.fill()
    for name in "FGH":
        receive(orthanc, name)
    for _ in range(10):
        one.follower.step()
        one.fill()
        one.send(1)
    told = one.progress()
    assert told["State"] == "Finished"
    assert (told["GoneStudies"], told["RecycledStudies"]) == (3, 3)
    said = [event.detail for event in events_of(one.ledger, "studies missing")]
    assert all(study in " ".join(said) for study in oldest)
    assert all(words in caplog.text for words in said)
    assert "all 5 studies are done, but 3 of them were gone" in caplog.text


@pytest.mark.parametrize("listed", [False, True])
def test_what_is_absent_for_a_while_is_not_left_out(orthanc, desk, tmp_path, listed):
    """Orthanc is back without its volume, and whoever follows it has not looked yet."""
    sent = upload(orthanc, make_study(instances=2))
    one = desk()
    while listed and one.backlog.left() == 0:
        one.step()
    orthanc.kill()
    with pytest.raises(OrthancError):
        one.follower.step()
    storage, aside = orthanc.folder / "storage", tmp_path / "aside"
    storage.rename(aside)
    orthanc.start()
    for _ in range(5):
        one.step()
    orthanc.kill()
    shutil.rmtree(storage)
    aside.rename(storage)
    orthanc.start()
    one.follower.step()
    one.fill()
    assert {row.orthanc_id for row in one.rows()} == set(sent)


def test_after_an_index_was_restored_it_is_looked_up_anew(orthanc, desk, tmp_path):
    """The change that what was looked up waits for is in no index any more."""
    sent = upload(orthanc, make_study(instances=3))
    one = desk(BackfillOptions(max_queued_instances=1))
    with one.stopped() as storage:
        shutil.copytree(storage, tmp_path / "backup")
    upload(orthanc, make_study(instances=2))
    one.follower.step()
    one.fill()
    assert one.backlog.unsent() == 1
    with one.stopped() as storage:
        shutil.rmtree(storage)
        (tmp_path / "backup").rename(storage)
    for _ in range(9):
        one.fill()
        one.send(1)
    assert {row.orthanc_id for row in one.rows()} >= {*sent}
    assert one.backlog.run.stage is Stage.FINISHED


@pytest.mark.parametrize("more", [0, 20])
def test_what_was_looked_up_in_another_index_is_nothing_of_this_one(orthanc, desk, tmp_path, more):
    """Both have something of a study, and the other one may be at a later change."""
    files = make_study(instances=4)
    sent = upload(orthanc, files[:2])
    upload(orthanc, make_study(instances=more))
    other = tmp_path / "other"
    orthanc.kill()
    (orthanc.folder / "storage").rename(other)
    time.sleep(1.1 - time.time() % 1)  # the changes of both have whole seconds
    orthanc.start()
    upload(orthanc, files[2:])
    one = desk()
    while one.backlog.run is None or one.backlog.run.stage is Stage.LISTING:
        one.step()
    upload(orthanc, make_study(instances=2))
    one.fill()  # it looks the study up, and waits for the follower
    with one.stopped() as storage:
        shutil.rmtree(storage)
        other.rename(storage)
    one.fill()
    assert {row.orthanc_id for row in one.rows()} >= {*sent}


def test_an_old_instance_that_cannot_be_read_holds_up_no_other(orthanc, desk):
    """A rule asks for what is only in its file, and that is not there."""
    sent = upload(orthanc, make_study(instances=4))
    uuid = orthanc.json("GET", f"/instances/{sent[1]}")["FileUuid"]
    place = orthanc.folder / "storage" / uuid[:2] / uuid[2:4] / uuid
    content = place.read_bytes()
    place.unlink()
    one = desk(tags={"PhotometricInterpretation": "MONO*"})
    one.fill()
    assert {row.orthanc_id for row in one.rows()} == {*sent} - {sent[1]}
    place.write_bytes(content)
    one.clock.time += timedelta(seconds=SWEEP_EVERY + 1)
    for _ in range(3):
        one.follower.step()
    assert {row.orthanc_id for row in one.rows()} == {*sent}
    assert one.ledger.arrivals.unreadable(one.follower.source) == []


@pytest.mark.parametrize("fate", [500, "reset", "stall"])
def test_a_study_that_orthanc_does_not_list_holds_up_no_other(orthanc, desk, fate):
    """It is the newest: so it comes first."""
    sent = upload(orthanc, make_study(instances=2))
    time.sleep(1.1 - time.time() % 1)
    odd = upload(orthanc, make_study(instances=2))
    study = orthanc.json("GET", f"/instances/{odd[0]}/study")["ID"]
    with Front() as front:
        front.target, front.dislikes = orthanc.url, {study.encode(): fate}
        one = desk(url=front.url)
        for _ in range(2):
            with pytest.raises(OrthancError, match="1 studies"):
                one.fill()
            assert {row.orthanc_id for row in one.rows()} == {*sent}
            assert one.backlog.left() == 1
        front.dislikes = {}
        one.fill()
        assert {row.orthanc_id for row in one.rows()} == {*sent, *odd}
        front.shutdown()


def test_while_orthanc_lists_no_study_each_of_them_stays(orthanc, desk, monkeypatch):
    monkeypatch.setattr("orthanc_gcp.custody.intake.backfill.MOST_UNLISTED", 2)
    for _ in range(4):
        upload(orthanc, make_study())
    with Front() as front:
        front.target, front.dislikes = orthanc.url, {b"Resources": 500}
        one = desk(url=front.url)
        with pytest.raises(OrthancError, match="2 studies"):
            one.fill()
        assert one.backlog.left() == 4
        front.shutdown()


def test_a_storage_that_is_not_there_stops_a_backfill(orthanc, desk, monkeypatch):
    upload(orthanc, make_study(instances=2))
    for place in (orthanc.folder / "storage").glob("??/*/*"):
        place.unlink()
    monkeypatch.setattr("orthanc_gcp.custody.intake.backfill.MOST_UNREADABLE", 1)
    one = desk(tags={"PhotometricInterpretation": "MONO*"})
    with pytest.raises(OrthancError, match="the backfill waits"):
        one.fill()
    assert one.backlog.left() == 1
    assert one.ledger.arrivals.unreadable(one.follower.source) == []


def test_it_reads_only_in_its_hours_and_while_it_is_not_paused(orthanc, desk):
    upload(orthanc, make_study(instances=2))
    one = desk(BackfillOptions(schedule=("20:00-06:00",)))
    midday = datetime(2026, 11, 21, 12).astimezone()
    one.clock.time = midday
    assert not one.is_open()
    one.fill()
    assert one.backlog.run is None
    one.clock.time = midday + timedelta(hours=9)
    one.backlog.pause()
    assert not one.is_open()
    one.fill()
    assert one.backlog.run is None
    one.backlog.resume()
    one.clock.time += timedelta(seconds=1)
    assert one.is_open()
    one.follower.step()  # it sees which index Orthanc has
    one.fill()
    assert len(one.rows()) == 2
    told = one.progress()
    assert (told["State"], told["Open"], told["Waiting"]["Instances"]) == ("Sending", True, 2)


def test_the_end_is_estimated_from_what_was_done(orthanc, desk):
    for _ in range(4):
        upload(orthanc, make_study(instances=2))
    one = desk(BackfillOptions(max_queued_instances=2))
    began = one.ledger.now()
    one.clock.time = datetime.fromtimestamp(began, UTC)
    one.follower.step()  # it sees which index Orthanc has
    one.fill()
    one.send(2)
    one.clock.time += timedelta(seconds=10)
    told = one.progress()
    assert told["Studies"] == {"Done": 1, "Total": 4}
    assert told["InstancesPerSecond"] == pytest.approx(0.2, rel=0.1)
    left = datetime.fromisoformat(told["EstimatedEnd"]) - one.clock.time
    assert left.total_seconds() == pytest.approx(30, rel=0.1)


def test_a_batch_holds_no_backfill_beside_what_is_live(orthanc, desk):
    upload(orthanc, make_study(instances=3))
    one = desk()
    one.fill()
    live = upload(orthanc, make_study(instances=2))
    one.follower.step()
    assert {row.orthanc_id for row in one.send(100)} == set(live)
    assert {row.priority for row in one.send(100)} == {Priority.BACKFILL}


def test_a_backfill_is_not_given_up(orthanc, desk):
    upload(orthanc, make_study(instances=2))
    one = desk()
    one.fill()
    one.ledger.queue.give_up(ACCOUNT, one.follower.source, one.ledger.now() + 3600)
    assert {row.state for row in one.rows()} == {State.WAITING}


def test_a_new_account_gets_what_the_other_has(orthanc, desk):
    sent = upload(orthanc, make_study(instances=3))
    first = desk()
    first.fill()
    second = desk(None, (ACCOUNT, "other"))
    second.backlog.restart()
    second.fill()
    assert sorted(row.account for row in second.rows()) == [ACCOUNT] * 3 + ["other"] * 3
    assert sorted(row.orthanc_id for row in second.rows()) == sorted(sent * 2)


def test_it_begins_anew_for_a_new_store(orthanc, desk):
    """And is not held up by what is open of the former one, nor counts it."""
    sent = upload(orthanc, make_study(instances=3))
    first = desk(BackfillOptions(max_queued_instances=3))
    first.fill()
    first.send(1)
    second = desk(BackfillOptions(max_queued_instances=3), store="second")
    assert progress(second.ledger, second.backlog, second.options, second.clock.utc()) is None
    second.fill()
    assert second.progress()["Waiting"]["Instances"] == 3
    assert {row.orthanc_id for row in second.send(9)} == set(sent)
    second.fill()
    assert second.progress()["State"] == "Finished"
    assert second.progress()["Confirmed"]["Instances"] == 3
    # Back again: what is open there goes on, and nothing is sent twice.
    third = desk()
    third.fill()
    assert len(third.send(9)) == 2
    third.fill()
    assert third.progress()["State"] == "Finished"
    assert len(third.rows()) == 6
    assert desk().step() is False


def test_an_account_that_is_put_back_gets_what_was_written_down_without_it(orthanc, desk):
    for _ in range(2):
        upload(orthanc, make_study(instances=3))
    options, both = BackfillOptions(max_queued_instances=6), (ACCOUNT, "other")
    desk(options, both).fill()  # the first study, and no more while "other" takes nothing
    alone = desk(options)
    alone.send(9)
    alone.fill()
    assert alone.backlog.left() == 0
    again = desk(BackfillOptions(), both)
    assert progress(again.ledger, again.backlog, again.options, again.clock.utc()) is None
    again.fill()
    assert sorted(row.account for row in again.rows()) == [ACCOUNT] * 6 + ["other"] * 6
    assert again.backlog.run.number == 2


def test_without_rules_no_study_is_done(orthanc, desk):
    upload(orthanc, make_study(instances=3))
    assert desk().step()  # the list is begun
    assert desk().step()
    desk(None, ()).fill()
    again = desk()
    again.fill()
    assert len(again.rows()) == 3


def test_one_of_an_older_release_goes_on(orthanc, desk):
    """It has not written down which stores it was for."""
    upload(orthanc, make_study(instances=3))
    first = desk()
    first.fill()
    value = first.ledger.key_values.get(f"backfill:{first.follower.source}", dict)
    del value["destinations"]
    first.ledger.key_values.set(f"backfill:{first.follower.source}", value)
    first.send(9)
    again = desk()
    again.fill()
    assert again.progress()["State"] == "Finished"
    assert again.backlog.run.number == 1
