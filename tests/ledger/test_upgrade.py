"""Ledgers of every version, and those that cannot be used."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.errors import LedgerError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.database import reading, writing
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor
from orthanc_gcp.ledger.schema import (
    UNSURE,
    State,
    key_values,
    metadata,
    schema_version,
    transfers,
)
from orthanc_gcp.ledger.upgrade import (
    LATEST,
    MIGRATIONS,
    _statements,
    migrate,
    prepare,
    require_current,
)
from orthanc_gcp.ledger.workers import worker_registry

OLD_TABLES = ("gcp_backlog", "gcp_cursors", "gcp_standings", "gcp_workers")

OLD_ROW = {
    "account": "a",
    "source": "o",
    "study": "1.2",
    "series": "1.2.3",
    "size": 1 << 40,
    "file": "uuid",
    "digest": "d" * 64,
    "urgency": 2,
    "change": 7,
    "held_for": "held",
    "due": 1.5,
    "attempts": 3,
    "company": 4,
    "replace": True,
    "reason": "r",
    "detail": "d",
    "batch": "batch-1",
    "worker": "w",
    "identity": "me@google",
    "received": 2.5,
    "wanted": 3.5,
    "acknowledged": 4.5,
    "confirmed": 5.5,
}
OLD_CONFIRMED = {
    **{name: value for name, value in OLD_ROW.items() if name not in ("held_for", "batch", "due")},
    "state": "confirmed",
    "worker": "confirmed",
    "reason": None,
    "detail": None,
    "replace": False,
}


@pytest.fixture
def old(engine):
    """A ledger of release 0.1.0 with rows in it, and what DBOS has left beside it."""
    with engine.begin() as connection:
        for table in OLD_TABLES:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("DROP SCHEMA IF EXISTS dbos CASCADE")
        for statement in _statements(1, engine.dialect.name):
            connection.exec_driver_sql(statement)
        _fill(connection)
    yield engine
    with engine.begin() as connection:
        for table in OLD_TABLES:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


def _fill(connection: sql.Connection) -> None:
    for number, state in enumerate(State):
        own = {"resource": f"r{number}", "instance": f"1.2.3.{number}", "state": state.value}
        _insert(connection, "gcp_transfers", {**OLD_ROW, **own})
    event = {"time": 9.5, "account": "a", "study": "1.2", "instance": "1.2.3.1", "kind": "k"}
    _insert(connection, "gcp_events", {**event, "detail": "d"})
    _insert(connection, "gcp_cursors", {"source": "o", "seq": 17, "since": 8.5})
    _insert(connection, "gcp_backlog", {"source": "o", "study": "s", "updated": "20260101T000000"})
    _insert(connection, "gcp_workers", {"name": "w", "source": "o"})
    _insert(connection, "gcp_standings", {"name": "aside:o", "value": '["x"]'})
    _insert(connection, "gcp_standings", {"name": "alarms:a", "value": '{"Backlog": true}'})
    _insert(connection, "gcp_standings", {"name": "allowance:a:bytes", "value": "1.5"})
    _insert(connection, "gcp_standings", {"name": "paused:a", "value": "true"})
    dbos = "" if connection.dialect.name == "sqlite" else "dbos."
    if dbos:
        connection.exec_driver_sql("CREATE SCHEMA dbos")
    connection.exec_driver_sql(
        f"CREATE TABLE {dbos}workflow_status (workflow_uuid TEXT, name TEXT)"
    )
    connection.exec_driver_sql(f"INSERT INTO {dbos}workflow_status VALUES ('batch-1', 'transfer')")


def _insert(connection: sql.Connection, table: str, values: dict[str, Any]) -> None:
    columns = [sql.column(name) for name in values]
    connection.execute(sql.table(table, *columns).insert().values(values))


def shape(engine: sql.Engine) -> dict[str, Any]:
    """Columns, keys and indexes of all tables of the ledger, as the database describes them."""
    inspector = sql.inspect(engine)
    found: dict[str, Any] = {}
    for table in inspector.get_table_names():
        if not table.startswith("gcp_"):
            continue
        columns = [
            (one["name"], str(one["type"]), one["nullable"], one["default"])
            for one in inspector.get_columns(table)
        ]
        keys = inspector.get_pk_constraint(table), inspector.get_unique_constraints(table)
        found[table] = columns, keys, inspector.get_foreign_keys(table)
    return {**found, "indexes": _indexes(engine)}


def _indexes(engine: sql.Engine) -> list[str]:
    if engine.dialect.name == "sqlite":
        query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        query = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()"
    with reading(engine) as connection:
        found = connection.exec_driver_sql(query).scalars().all()
    return sorted(re.sub(r'[\s"]+', " ", one) for one in found)


def rows(engine: sql.Engine, table: sql.Table) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        found = [dict(row._mapping) for row in connection.execute(sql.select(table))]
    return sorted(found, key=lambda row: row.get("id", 0))


def version(engine: sql.Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(sql.select(schema_version.c.version)).scalar_one()


def migrated(old: sql.Engine, to: int) -> None:
    with writing(old) as connection:
        migrate(connection, 1, to)


def test_migrations_are_numbered_without_a_gap():
    numbers = sorted({int(file.name[:4]) for file in MIGRATIONS.glob("*.sql")})
    assert numbers == list(range(1, LATEST + 1))


def test_an_empty_database_gets_the_latest(engine):
    prepare(engine)
    assert version(engine) == LATEST
    prepare(engine)
    assert len(rows(engine, schema_version)) == 1
    require_current(engine)


def test_a_ledger_of_release_0_1_0_becomes_as_a_new_one(old):
    prepare(old)
    assert version(old) == LATEST
    after = shape(old)
    metadata.drop_all(old)
    prepare(old)
    assert after == shape(old)


def test_every_row_and_state_is_taken_over(old):
    prepare(old)
    found = rows(old, transfers)
    assert [(row["orthanc_id"], row["sop_instance_uid"], row["state"]) for row in found] == [
        (f"r{number}", f"1.2.3.{number}", state) for number, state in enumerate(State)
    ]
    for row in found:
        del row["id"], row["orthanc_id"], row["sop_instance_uid"], row["state"]
        assert row == {
            "account": "a",
            "source": "o",
            "study_instance_uid": "1.2",
            "series_instance_uid": "1.2.3",
            "size_bytes": 1 << 40,
            "attachment_uuid": "uuid",
            "sha256": "d" * 64,
            "priority": 2,
            "change_seq": 7,
            "held_for_orthanc_id": "held",
            "next_attempt_at": 1.5,
            "attempts": 3,
            "max_batch_instances": 4,
            "replace": True,
            "reason": "r",
            "detail": "d",
            "batch": "batch-1",
            "worker": "w",
            "sent_as": "me@google",
            "received_at": 2.5,
            "queued_at": 3.5,
            "acknowledged_at": 4.5,
            "confirmed_at": 5.5,
            "absent_since": None,
            "stored_sha256": None,
            "destination_id": 1,
            "patient_orthanc_id": None,
        }
    others = {
        table.name: rows(old, table)
        for table in metadata.sorted_tables
        if table not in (transfers, schema_version)
    }
    assert others["gcp_destinations"] == [
        {"id": 1, "account": "a", "endpoint": "", "store": None, "since": 3.5, "used_at": 3.5}
    ]
    (event,) = others["gcp_events"]
    assert event["occurred_at"] == 9.5
    assert (event["study_instance_uid"], event["sop_instance_uid"]) == ("1.2", "1.2.3.1")
    unknown = dict.fromkeys(("name", "marks", "missing", "seen_at", "read_until", "address"))
    assert others["gcp_change_cursors"] == [{"source": "o", "seq": 17, "since": 8.5, **unknown}]
    assert Ledger(old).indexes.get("o") == Cursor("o", 17, 8.5, "o")
    assert others["gcp_backfill_studies"] == [
        {"source": "o", "orthanc_id": "s", "last_update": "20260101T000000"}
    ]
    assert {row["name"]: row["value"] for row in others["gcp_key_values"]} == {
        "unreadable:o": ["x"],
        "alerts:a": {"Backlog": True},
        "rate_limit:a:bytes": 1.5,
        "paused:a": True,
    }


def test_the_second_step_names_what_is_there(old):
    migrated(old, 2)
    assert version(old) == 2
    tables = set(sql.inspect(old).get_table_names())
    assert {"gcp_change_cursors", "gcp_key_values", "gcp_backfill_studies", "gcp_workers"} <= tables
    assert tables.isdisjoint({"gcp_cursors", "gcp_standings", "gcp_backlog"})
    with reading(old) as connection:
        count = sql.select(sql.func.count()).select_from(transfers)
        assert connection.scalar(count) == len(State)


def test_the_third_step_takes_away_what_another_queue_has_left(old):
    migrated(old, 2)
    with writing(old) as connection:
        migrate(connection, 2, 3)
    inspector = sql.inspect(old)
    assert not inspector.has_table("gcp_workers")
    assert not inspector.has_table("workflow_status")
    assert "dbos" not in inspector.get_schema_names()


def test_of_several_versions_that_were_confirmed_the_newest_is_read_back(old):
    """Earlier releases did not take back what they had confirmed of a version that was replaced."""
    replaced = {"resource": "replaced", "digest": "1" * 64, "received": 10.0}
    corrected = {"resource": "corrected", "digest": "2" * 64, "received": 20.0}
    same = {"instance": "1.2.8", "digest": "3" * 64}
    copies = [{"resource": "copy", "source": name, **same} for name in ("o", "another")]
    twice = [{"resource": study, "study": study, "instance": "1.2.7"} for study in ("1.5", "1.6")]
    with old.begin() as connection:
        for one in ({"instance": "1.2.9", **replaced}, {"instance": "1.2.9", **corrected}):
            _insert(connection, "gcp_transfers", {**OLD_CONFIRMED, **one})
        for one in (*copies, *twice):
            _insert(connection, "gcp_transfers", {**OLD_CONFIRMED, **one})
    prepare(old)
    found = {
        (row["orthanc_id"], row["source"]): (row["state"], row["stored_sha256"])
        for row in rows(old, transfers)
        if row["worker"] == "confirmed"
    }
    assert found == {
        ("replaced", "o"): (State.SUPERSEDED, UNSURE),
        ("corrected", "o"): (State.ACKNOWLEDGED, UNSURE),
        ("copy", "o"): (State.CONFIRMED, None),
        ("copy", "another"): (State.CONFIRMED, None),
        ("1.5", "o"): (State.ACKNOWLEDGED, None),
        ("1.6", "o"): (State.ACKNOWLEDGED, None),
    }
    due = Ledger(old).confirmations.due("a", backfilled=True)
    assert {one.study_instance_uid for one in due} == {"1.2", "1.5", "1.6"}


def test_the_first_worker_says_which_store_it_was(old):
    """However many rows there are, one is written."""
    migrated(old, 5)
    with writing(old) as connection:
        for account, times in (("b", 3), ("a", 2)):
            for number in range(times):
                _insert_version_5(connection, account, number)
    prepare(old)
    stores = {name: StoreName(f"projects/{name}") for name in "ab"}
    ledger = Ledger(old, stores=stores)
    before = rows(old, transfers)
    assert all(one.adopted and one.before is None for one in ledger.destinations.register())
    assert rows(old, transfers) == before
    known = {one.id: one for one in ledger.destinations.all()}
    assert [(one.account, one.name) for one in known.values()] == list(stores.items())
    assert all(known[row["destination_id"]].account == row["account"] for row in before)
    limits = {"most_instances": 99, "most_bytes": 9, "most_batches": 9}
    assert len(ledger.queue.claim("b", "o", "batch", "w", **limits)) == 3


def _insert_version_5(connection: sql.Connection, account: str, number: int) -> None:
    uid = f"9.{account}.{number}"
    own = {"account": account, "source": "o", "orthanc_id": uid, "state": "waiting"}
    uids = {f"{level}_instance_uid": uid for level in ("study", "series", "sop")}
    more = {"size_bytes": 1, "attachment_uuid": "", "priority": 0, "change_seq": 1, "attempts": 0}
    values = {**own, **uids, **more, "replace": False, "received_at": 1.0, "queued_at": 1.0}
    _insert(connection, "gcp_transfers", values)


@pytest.mark.parametrize("engine", ["PostgreSQL"], indirect=True)  # a file is the ledger's own
def test_workflows_of_another_program_are_left_alone(old):
    with old.begin() as connection:
        connection.exec_driver_sql("INSERT INTO dbos.workflow_status VALUES ('x', 'invoices')")
    prepare(old)
    assert "dbos" in sql.inspect(old).get_schema_names()
    assert version(old) == LATEST


def _prepare(url: str) -> None:
    engine = database.connect(url)
    prepare(engine)
    engine.dispose()


def test_several_workers_migrate_it_once(old):
    url = old.url.render_as_string(hide_password=False)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_prepare, args=(url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert version(old) == LATEST
    assert len(rows(old, transfers)) == len(State)


def _die_before_the_end(url: str) -> None:
    engine = database.connect(url)
    with writing(engine) as connection:
        migrate(connection, 1)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_migration_that_is_killed_leaves_the_old_ledger(old):
    before = shape(old)
    url = old.url.render_as_string(hide_password=False)
    process = multiprocessing.get_context("spawn").Process(target=_die_before_the_end, args=(url,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert shape(old) == before
    prepare(old)
    assert len(rows(old, transfers)) == len(State)


def test_a_migration_that_fails_leaves_the_old_ledger(old):
    with old.begin() as connection:
        connection.exec_driver_sql("DROP TABLE gcp_workers")
    before = shape(old)
    with pytest.raises(sql.exc.SQLAlchemyError):
        prepare(old)
    assert shape(old) == before


def test_a_running_worker_is_not_migrated_under_its_feet(old):
    registry = worker_registry(old, "running", SystemClock())
    registry.join()
    before = shape(old)
    with pytest.raises(LedgerError, match="stop all workers"):
        prepare(old)
    assert shape(old) == before
    registry.leave()
    prepare(old)


def test_what_reads_migrates_nothing(old):
    before = shape(old)
    with pytest.raises(LedgerError, match=r"has version 1.*the worker migrates it"):
        require_current(old)
    assert shape(old) == before


def test_a_newer_ledger_is_refused(engine):
    prepare(engine)
    with writing(engine) as connection:
        connection.execute(schema_version.update().values(version=LATEST + 1))
    for use in (prepare, require_current):
        with pytest.raises(
            LedgerError, match=f"has version {LATEST + 1}, and .* upgrade orthanc-gcp"
        ):
            use(engine)


def test_a_database_without_a_ledger_is_left_so_by_what_reads(engine):
    with pytest.raises(LedgerError, match="there is no ledger"):
        require_current(engine)
    assert not sql.inspect(engine).has_table(transfers.name)


def test_a_missing_table_is_told(engine):
    prepare(engine)
    key_values.drop(engine)
    for use in (prepare, require_current):
        with pytest.raises(LedgerError, match="table gcp_key_values is missing"):
            use(engine)


def test_a_missing_column_is_told(engine):
    prepare(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gcp_transfers DROP COLUMN sha256")
    for use in (prepare, require_current):
        with pytest.raises(LedgerError, match=r"column gcp_transfers\.sha256 is missing") as told:
            use(engine)
        assert "\n" not in str(told.value)
        assert "docs/operations.md" in str(told.value)


def test_a_version_that_was_lost_is_told(engine):
    prepare(engine)
    with writing(engine) as connection:
        connection.execute(schema_version.delete())
    with pytest.raises(LedgerError, match="gcp_schema_version has no version"):
        prepare(engine)


# -- A file that is broken ------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    """A ledger on SQLite of some pages, which nobody has open."""
    engine = database.connect(database.url_of("", tmp_path))
    prepare(engine)
    with writing(engine) as connection:
        rows = [{"name": str(number), "value": "v" * 500} for number in range(500)]
        connection.execute(key_values.insert(), rows)
    engine.dispose()
    return tmp_path / database.FILE_NAME


def refused(file: Path) -> str:
    engine = database.connect(database.url_of("", file.parent))
    try:
        with pytest.raises(LedgerError, match="is damaged") as told:
            prepare(engine)
    finally:
        engine.dispose()
    return str(told.value)


def test_what_is_no_database_is_refused(file):
    file.write_bytes(b"not a database, and long enough to be seen as none" * 100)
    assert "file is not a database" in refused(file)
    assert file.read_bytes().startswith(b"not a database"), "it is left for somebody to look at"


def test_a_truncated_file_is_refused(file):
    os.truncate(file, file.stat().st_size // 2)
    assert "malformed" in refused(file)


def test_a_page_that_was_overwritten_is_refused(file):
    content = bytearray(file.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    file.write_bytes(content)
    refused(file)


def test_a_copy_made_while_it_is_used_is_whole(file, tmp_path):
    """As the documentation makes backups."""
    copy = tmp_path / "copy" / database.FILE_NAME
    copy.parent.mkdir()
    with sqlite3.connect(file) as source, sqlite3.connect(copy) as target:
        source.execute("INSERT INTO gcp_key_values VALUES ('open', '1')")
        source.commit()
        source.backup(target)
    source.close()
    target.close()
    engine = database.connect(database.url_of("", copy.parent))
    prepare(engine)
    assert len(rows(engine, key_values)) == 501
    engine.dispose()
