"""Who is alive is told by locks, which end with the process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sql

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.errors import LedgerError
from orthanc_gcp.ledger import database, workers
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.ledger.workers import (
    ALIVE_FOR,
    DEAD_AFTER,
    REFRESH_EVERY,
    alive_workers,
    any_alive,
    has_several,
    worker_registry,
)
from orthanc_gcp.reasons import LedgerReason
from tests.support.ledgers import ORTHANC, arrival, claim
from tests.support.orthanc import wait_until
from tests.support.simulation import FakeClock


@pytest.fixture
def joined():
    """Makes registries of workers that have joined, and lets them leave."""
    made = []

    def join(engine, name="w", clock=None):
        registry = worker_registry(engine, name, clock or FakeClock())
        registry.join()
        made.append(registry)
        return registry

    yield join
    for registry in made:
        registry.leave()


def test_a_worker_counts_from_its_joining_until_it_leaves(ledger):
    registry = worker_registry(ledger.engine, "w", FakeClock())
    assert not registry.alive
    assert not any_alive(ledger.engine)
    registry.join()
    assert registry.alive
    assert any_alive(ledger.engine)
    assert alive_workers(ledger.engine) == ["w"]
    registry.leave()
    assert not registry.alive
    assert not any_alive(ledger.engine)
    assert alive_workers(ledger.engine) == []


def test_the_workers_that_run_are_named(ledger, joined):
    """Those that have died without a word are not, whoever they were."""
    ledger.key_values.set("worker:dead", True)
    names = ["w"] if ledger.engine.dialect.name == "sqlite" else ["ä: *%_", "w"]
    for name in names:
        joined(ledger.engine, name)
    assert alive_workers(ledger.engine) == sorted(names)


def test_a_worker_is_alone_until_another_joins(ledger, joined):
    first = joined(ledger.engine)
    assert not has_several(ledger.engine)
    if ledger.engine.dialect.name == "postgresql":
        joined(ledger.engine, "another")
        assert has_several(ledger.engine)
        first.leave()
        assert not has_several(ledger.engine)


def test_two_workers_of_one_name_do_not_both_run(ledger, joined):
    joined(ledger.engine)
    again = worker_registry(ledger.engine, "w", FakeClock())
    with pytest.raises(LedgerError, match="another worker"):
        again.join()
    assert not again.alive


def test_on_sqlite_there_is_one_worker(sqlite_ledger, joined):
    joined(sqlite_ledger.engine)
    with pytest.raises(LedgerError, match="need a PostgreSQL database"):
        worker_registry(sqlite_ledger.engine, "other", FakeClock()).join()


def test_a_link_to_the_file_is_the_same_ledger(sqlite_ledger, joined, tmp_path):
    joined(sqlite_ledger.engine)
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    (tmp_path / "link.sqlite").symlink_to(sqlite_ledger.engine.url.database)
    for place in (tmp_path / "elsewhere" / "orthanc-gcp.sqlite", tmp_path / "link.sqlite"):
        engine = database.connect(f"sqlite:///{place}")
        assert any_alive(engine)
        with pytest.raises(LedgerError, match="another worker has"):
            worker_registry(engine, "other", FakeClock()).join()
        engine.dispose()


def test_another_name_of_the_file_is_the_same_ledger(sqlite_ledger, joined, tmp_path):
    """As a mount of it would be; before SQLite has looked for what it has beside that name."""
    first = joined(sqlite_ledger.engine)
    other = tmp_path / "other"
    other.mkdir()
    (other / "name.sqlite").hardlink_to(sqlite_ledger.engine.url.database)
    engine = database.connect(f"sqlite:///{other}/name.sqlite")
    again = worker_registry(engine, "other", FakeClock())
    for enter in (again.reserve, again.join):
        with pytest.raises(LedgerError, match="another worker has"):
            enter()
    assert {file.name for file in other.iterdir()} == {"name.sqlite"}
    again.leave()
    assert first.alive
    first.leave()
    again.join()
    assert again.alive
    again.leave()
    engine.dispose()


def _write_from_another_process(path: str, said: multiprocessing.Queue) -> None:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        said.put(str(error))
    else:
        said.put("locked")


def test_who_joins_and_leaves_releases_no_lock_of_sqlite(tmp_path):
    """SQLite's locks end, for a whole process, when any descriptor of the file is closed."""
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN EXCLUSIVE")
    engine = database.connect(f"sqlite:///{path}")
    for _ in range(2):
        registry = worker_registry(engine, "w", FakeClock())
        registry.reserve()
        registry.join()
        assert any_alive(engine)
        registry.leave()
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    process = context.Process(target=_write_from_another_process, args=(str(path), said))
    process.start()
    assert said.get(timeout=30) == "database is locked"
    process.join(30)
    connection.close()
    engine.dispose()


def test_a_file_that_is_not_there_yet_is_locked_when_it_is(tmp_path, joined):
    engine = database.connect(database.url_of("", tmp_path))
    registry = worker_registry(engine, "w", FakeClock())
    registry.reserve()
    prepare(engine)
    registry.join()
    (tmp_path / "name.sqlite").hardlink_to(engine.url.database)
    other = database.connect(f"sqlite:///{tmp_path}/name.sqlite")
    with pytest.raises(LedgerError, match="another worker has"):
        worker_registry(other, "other", FakeClock()).reserve()
    registry.leave()
    for one in (engine, other):
        one.dispose()


@pytest.mark.parametrize("becomes", ["deleted", "replaced"])
def test_a_file_that_is_not_there_any_more(sqlite_ledger, joined, becomes):
    """SQLite would go on writing into it, and nobody would ever read that."""
    registry = joined(sqlite_ledger.engine)
    registry.refresh(ORTHANC)
    file = Path(sqlite_ledger.engine.url.database)
    if becomes == "replaced":
        shutil.copy(file, f"{file}.new")
        Path(f"{file}.new").replace(file)
    else:
        file.unlink()
    with pytest.raises(LedgerError, match="was deleted, or another file put in its place"):
        registry.refresh(ORTHANC)
    assert not registry.alive


@pytest.mark.parametrize("becomes", ["deleted", "replaced"])
def test_a_write_ahead_log_that_is_not_there_any_more(sqlite_ledger, joined, tmp_path, becomes):
    link = tmp_path / "link"
    link.symlink_to(str(sqlite_ledger.engine.url.database))  # SQLite's files are not beside it
    engine = database.connect(f"sqlite:///{link}")
    registry = joined(engine)
    Ledger(engine).arrivals.record([arrival("1")])
    for _ in range(2):
        registry.refresh(ORTHANC)
    log = Path(f"{sqlite_ledger.engine.url.database}-wal")
    log.unlink()
    if becomes == "replaced":
        log.touch()
    with pytest.raises(LedgerError, match="-wal was deleted, or another file put in its place"):
        registry.refresh(ORTHANC)
    assert not registry.alive
    engine.dispose()


def test_on_sqlite_whoever_else_has_claimed_something_is_dead(sqlite_ledger, joined):
    sqlite_ledger.arrivals.record([arrival("1")])
    claim(sqlite_ledger)  # by "w"
    registry = joined(sqlite_ledger.engine, "other")
    assert registry.follows(ORTHANC)
    assert not registry.follows("")
    assert registry.refresh(ORTHANC) == ["w"]
    assert registry.refresh(ORTHANC) == ["w"], "its claims were not released yet"
    registry.remove("w")
    assert registry.refresh(ORTHANC) == []


def test_a_worker_s_own_claims_are_not_those_of_the_dead(sqlite_ledger, joined):
    sqlite_ledger.arrivals.record([arrival("1")])
    claim(sqlite_ledger)
    assert joined(sqlite_ledger.engine, "w").refresh(ORTHANC) == []


def test_several_workers_are_alive_and_one_follows(postgresql_ledger, joined):
    one, two = joined(postgresql_ledger.engine, "one"), joined(postgresql_ledger.engine, "two")
    one.refresh(ORTHANC)
    two.refresh(ORTHANC)
    assert (one.alive, two.alive) == (True, True)
    assert (one.follows(ORTHANC), two.follows(ORTHANC)) == (True, False)


def test_each_orthanc_is_followed(postgresql_ledger, joined):
    one, two = joined(postgresql_ledger.engine, "one"), joined(postgresql_ledger.engine, "two")
    one.refresh(ORTHANC)
    two.refresh("another")
    assert (one.follows(ORTHANC), two.follows("another")) == (True, True)
    assert (one.follows("another"), two.follows(ORTHANC)) == (False, False)


def test_an_index_that_a_worker_does_not_have_any_more_is_free(postgresql_ledger, joined):
    clock = FakeClock()
    one, two = (joined(postgresql_ledger.engine, name, clock) for name in ("one", "two"))
    one.refresh(ORTHANC)
    clock.time += REFRESH_EVERY + 1
    one.refresh("another")
    two.refresh(ORTHANC)
    assert one.follows("another")
    assert two.follows(ORTHANC)


def _claim_and_wait(url: str, ready: object) -> None:
    engine = database.connect(url)
    worker_registry(engine, "w", FakeClock()).join()
    ready.set()
    signal.pause()


def test_a_worker_that_was_killed_is_dead_after_a_while(postgresql_ledger, joined):
    postgresql_ledger.arrivals.record([arrival("1")])
    claim(postgresql_ledger)
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    url = postgresql_ledger.engine.url.render_as_string(hide_password=False)
    process = spawn.Process(target=_claim_and_wait, args=(url, ready))
    process.start()
    assert ready.wait(30)
    clock = FakeClock()
    other = joined(postgresql_ledger.engine, "other", clock)
    clock.time += 10 * DEAD_AFTER
    assert other.refresh(ORTHANC) == [], "it is alive, however long it takes"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    wait_until(lambda: "w" not in alive_workers(postgresql_ledger.engine), 30)
    clock.time += REFRESH_EVERY + 1
    assert other.refresh(ORTHANC) == [], "it may only have lost its connection"
    clock.time += DEAD_AFTER
    assert other.refresh(ORTHANC) == ["w"]
    third = joined(postgresql_ledger.engine, "third", clock)
    clock.time += DEAD_AFTER
    assert third.refresh(ORTHANC) == [], "it is the one's who found it"
    with pytest.raises(LedgerError):
        worker_registry(postgresql_ledger.engine, "w", clock).join()
    postgresql_ledger.queue.requeue_claims_of("w")
    other.remove("w")
    joined(postgresql_ledger.engine, "w", clock)


def test_a_dead_worker_that_was_not_removed_may_start_again(postgresql_ledger, joined):
    """As where the ledger was away between the end of its claims and the rest."""
    postgresql_ledger.arrivals.record([arrival("1")])
    claim(postgresql_ledger)  # by "w", which does not run
    clock = FakeClock()
    other = joined(postgresql_ledger.engine, "other", clock)
    assert other.refresh(ORTHANC) == []
    clock.time += DEAD_AFTER
    assert other.refresh(ORTHANC) == ["w"]
    postgresql_ledger.queue.requeue_claims_of("w")
    clock.time += REFRESH_EVERY + 1
    assert other.refresh(ORTHANC) == []
    joined(postgresql_ledger.engine, "w", clock)


def test_a_worker_without_its_connection_is_not_alive(postgresql_ledger, joined):
    clock = FakeClock()
    registry = joined(postgresql_ledger.engine, "w", clock)
    registry.refresh(ORTHANC)
    with postgresql_ledger.engine.connect() as connection:
        ends = (
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND classid = 740120"
        )
        connection.exec_driver_sql(ends)
    clock.time += REFRESH_EVERY + 1
    with pytest.raises(sql.exc.SQLAlchemyError):
        registry.refresh(ORTHANC)
    assert (registry.alive, registry.follows(ORTHANC)) == (False, False)
    registry.refresh(ORTHANC)
    assert (registry.alive, registry.follows(ORTHANC)) == (True, True)


def test_a_database_without_a_lock_file_has_no_worker(tmp_path):
    engine = database.connect(database.url_of("", tmp_path))
    assert not any_alive(engine)
    prepare(engine)
    assert not any_alive(engine)
    engine.dispose()


def _speak_until_stopped(url: str, ready: object) -> None:
    workers.REFRESH_EVERY = 0.2
    engine = database.connect(url)
    registry = worker_registry(engine, "w", SystemClock())
    registry.join()
    connection = engine.connect()  # a transaction that has claimed, and is not at its end
    connection.execute(sql.text("UPDATE gcp_transfers SET attempts = 7"))
    registry.refresh(ORTHANC)
    ready.set()
    while True:
        registry.refresh(ORTHANC)
        time.sleep(0.05)


def test_a_worker_that_stands_still_is_taken_over_from(postgresql_ledger, joined, monkeypatch):
    """Its session lives, and so do its locks: the silence shows, and all its sessions are ended."""
    for name, seconds in (("SILENT_AFTER", 1.0), ("REFRESH_EVERY", 0.2), ("DEAD_AFTER", 0.5)):
        monkeypatch.setattr(workers, name, seconds)
    postgresql_ledger.arrivals.record([arrival("1"), arrival("2")])
    claim(postgresql_ledger, most_instances=1)
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    url = postgresql_ledger.engine.url.render_as_string(hide_password=False)
    process = spawn.Process(target=_speak_until_stopped, args=(url, ready))
    process.start()
    try:
        assert ready.wait(30)
        other = joined(postgresql_ledger.engine, "other", SystemClock())

        def dead():
            return other.refresh(ORTHANC)

        for _ in range(20):
            assert dead() == []
            time.sleep(0.1)
        assert not other.follows(ORTHANC)
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: dead() == ["w"], 30)
        wait_until(lambda: other.follows(ORTHANC), 10)
        postgresql_ledger.queue.requeue_claims_of("w")
        other.remove("w")
        assert claim(postgresql_ledger, "mine") == ["1", "2"], "no row is locked any more"
        os.kill(process.pid, signal.SIGCONT)
        process.join(30)
        assert process.exitcode == 1, "it has lost its session"
    finally:
        process.kill()
        process.join()


def test_after_a_pause_of_the_server_nobody_is_ended(postgresql_ledger, joined, monkeypatch):
    """All are silent then, and the one that speaks first must not end those that are about to."""
    monkeypatch.setattr(workers, "SILENT_AFTER", 0.2)
    clock = FakeClock()
    one, two = (joined(postgresql_ledger.engine, name, clock) for name in ("one", "two"))
    time.sleep(0.3)
    for _ in range(3):
        clock.time += REFRESH_EVERY + 1
        one.refresh(ORTHANC)
        two.refresh(ORTHANC)
        time.sleep(0.3)
    assert (one.alive, two.alive) == (True, True)


def test_a_pooler_whose_clients_share_a_session_is_refused(postgresql_ledger, joined):
    """As PgBouncer does in the mode "transaction": locks of one worker would be those of all."""
    url = postgresql_ledger.engine.url
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(False)) as session:
        pooled = sql.create_engine(url, creator=lambda: session)
        with pytest.raises(LedgerError, match="pooler") as refused:
            joined(pooled)
        assert refused.value.reason == LedgerReason.SHARED_SESSION


def test_a_session_that_becomes_another_one_is_refused(postgresql_ledger, joined):
    clock = FakeClock()
    registry = joined(postgresql_ledger.engine, clock=clock)
    clock.time += REFRESH_EVERY
    registry.refresh(ORTHANC)
    registry._connection.exec_driver_sql("DISCARD ALL")
    clock.time += REFRESH_EVERY
    with pytest.raises(LedgerError, match="pooler"):
        registry.refresh(ORTHANC)


def test_a_worker_counts_on_its_lock_only_for_a_while(postgresql_ledger, joined):
    clock = FakeClock()
    registry = joined(postgresql_ledger.engine, "w", clock)
    clock.time += REFRESH_EVERY + 1
    registry.refresh(ORTHANC)
    assert registry.follows(ORTHANC)
    clock.time += ALIVE_FOR
    assert (registry.alive, registry.follows(ORTHANC)) == (False, False)
    registry.refresh(ORTHANC)
    assert (registry.alive, registry.follows(ORTHANC)) == (True, True)


def test_a_lost_lock_is_taken_again_when_nothing_is_being_sent(postgresql_ledger, joined):
    clock = FakeClock()
    registry = joined(postgresql_ledger.engine, "w", clock)
    registry._disconnect()
    clock.time += REFRESH_EVERY + 1
    assert registry.refresh(ORTHANC, may_join=False) == []
    assert not registry.alive
    clock.time += REFRESH_EVERY + 1
    registry.refresh(ORTHANC)
    assert registry.alive


def test_a_name_that_another_has_meanwhile_is_said_and_waited_for(
    postgresql_ledger, joined, caplog
):
    """As of two machines of one name: the other was first when PostgreSQL was there again."""
    clock = FakeClock()
    one = joined(postgresql_ledger.engine, "w", clock)
    clock.time += REFRESH_EVERY + 1
    one.refresh(ORTHANC)
    since = clock.utc().timestamp()
    assert one.unseen(0) is None
    one._disconnect()
    two = joined(postgresql_ledger.engine, "w", clock)
    for _ in range(3):
        clock.time += REFRESH_EVERY + 1
        assert one.refresh(ORTHANC) == []
    assert not one.alive
    assert caplog.text.count("another worker is called w: give each its own --name") == 1
    found = one.unseen(3 * (REFRESH_EVERY + 1))
    assert found is not None
    assert found.since == since
    assert found.words.startswith("another worker is called w: give each its own --name")
    assert one.unseen(3 * (REFRESH_EVERY + 1) + 1) is None, "not for so long"
    two.leave()
    clock.time += REFRESH_EVERY + 1
    one.refresh(ORTHANC)
    assert one.alive
    assert one.unseen(0) is None
    assert caplog.text.count("is one of the workers again after 15 s") == 1


def test_a_lock_that_is_not_taken_again_while_something_is_sent(postgresql_ledger, joined):
    clock = FakeClock()
    registry = joined(postgresql_ledger.engine, "w", clock)
    registry._disconnect()
    clock.time += REFRESH_EVERY + 1
    registry.refresh(ORTHANC, may_join=False)
    assert registry.unseen(REFRESH_EVERY).words == "what it was sending has not ended yet"


def test_a_lock_that_is_taken_and_never_seen_again(postgresql_ledger, joined, monkeypatch):
    """It counts from when the others have last seen it, however often it connects."""
    clock = FakeClock()
    registry = joined(postgresql_ledger.engine, "w", clock)
    monkeypatch.setattr(workers, "_SILENT", sql.text("SELECT nothing"))
    for _ in range(3):
        clock.time += REFRESH_EVERY + 1
        with pytest.raises(sql.exc.SQLAlchemyError):
            registry.refresh(ORTHANC)
    found = registry.unseen(3 * REFRESH_EVERY)
    assert found.words.startswith("the ledger cannot be used: ")
