"""Whatever is written into the database: nothing of it is executed, and it stops nothing else."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger.schema import metadata, transfers
from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import ACCOUNT, Site, make_study


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._file,)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def section(request):
    if request.param == "SQLite":
        yield {}
        return
    server = Postgres()
    yield {"Database": server.url}
    server.remove()


@pytest.fixture
def trap(tmp_path):
    """A pickle, and the file that it would create."""
    file = tmp_path / "executed"
    pickled = pickle.dumps(Trap(file))
    pickle.loads(pickled)
    assert file.exists()
    file.unlink()
    return pickled, file


SOUND = {
    "account": ACCOUNT,
    "destination_id": 1,
    "source": "",
    "orthanc_id": "",
    "study_instance_uid": "1.2",
    "series_instance_uid": "1.2.3",
    "sop_instance_uid": "1.2.3.4",
    "size_bytes": 1000,
    "attachment_uuid": "",
    "state": "waiting",
    "priority": 0,
    "change_seq": 1,
    "attempts": 0,
    "replace": False,
    "received_at": 1.0,
    "queued_at": 1.0,
}


def plant_transfers(connection: sql.Connection, source: str, values: list[object]) -> list[int]:
    """For each column and value a row that is sound otherwise; those that the database takes."""
    planted = []
    for column in transfers.columns:
        if column.name == "id":
            continue
        for number, value in enumerate(values):
            name = f"{column.name}-{number}"
            row = {**SOUND, "source": source, "orthanc_id": name, "sop_instance_uid": f"1.{name}"}
            row[column.name] = value
            columns = ", ".join(f'"{name}"' for name in row)
            marks = ", ".join(f":{name}" for name in row)
            insert = sql.text(
                f"INSERT INTO gcp_transfers ({columns}) VALUES ({marks}) RETURNING id"
            )
            try:
                with connection.begin_nested():
                    planted.append(connection.execute(insert, row).scalar_one())
            except (sql.exc.DBAPIError, sql.exc.StatementError):
                assert connection.dialect.name == "postgresql"
    return planted


def plant_elsewhere(connection: sql.Connection, source: str, text: str, quoted: str) -> None:
    """In the other tables, and where another queue would have read a pickle."""
    for name in ("paused:other", f"backfill:{source}", f"unreadable:{source}", "alerts:google"):
        add = sql.text("INSERT INTO gcp_key_values VALUES (:name, :value)")
        connection.execute(add, {"name": name, "value": quoted})
    add = sql.text("INSERT INTO gcp_backfill_studies VALUES (:source, :text, :text)")
    connection.execute(add, {"source": source, "text": text})
    add = sql.text(
        "INSERT INTO gcp_events (occurred_at, account, study_instance_uid, kind, detail)"
        " VALUES (1.0, :text, :text, :text, :text)"
    )
    connection.execute(add, {"text": text})
    add = sql.text("INSERT INTO gcp_patients VALUES (:source, :text, :text, NULL, 5)")
    connection.execute(add, {"source": source, "text": text})
    add = sql.text("INSERT INTO gcp_patient_studies VALUES (:source, '1.2', :text)")
    connection.execute(add, {"source": source, "text": text})
    table = "workflow_status"
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("CREATE SCHEMA dbos")
        table = f"dbos.{table}"
    connection.exec_driver_sql(
        f"CREATE TABLE {table} (workflow_uuid TEXT, status TEXT, name TEXT, executor_id TEXT,"
        " inputs TEXT, serialization TEXT)"
    )
    add = f"INSERT INTO {table} VALUES ('batch-1', 'PENDING', 'transfer', 'worker', :text, :kind)"
    connection.execute(sql.text(add), {"text": text, "kind": "py_pickle"})


def test_nothing_is_unpickled_and_nothing_else_is_stopped(tmp_path, section, trap):
    pickled, file = trap
    text = base64.b64encode(pickled).decode()
    recycles = {"MaximumPatientCount": 1000}
    with Site(tmp_path / "site", section=section or None, orthanc=recycles) as site:
        site.wait_for_following()
        site.stop_worker()
        engine = site.engine()
        with engine.begin() as connection:
            source = connection.exec_driver_sql("SELECT source FROM gcp_change_cursors").scalar()
            planted = plant_transfers(connection, source, [pickled, text])
            quoted = f'"{text}"'
            plant_elsewhere(connection, source, text, quoted)
            if engine.dialect.name == "sqlite":
                add = sql.text("INSERT INTO gcp_key_values VALUES ('paused:x', :value)")
                connection.execute(add, {"value": pickled})
                add = sql.text("INSERT INTO gcp_patients VALUES (:source, 'x', :v, :v, :v)")
                connection.execute(add, {"source": source, "v": pickled})
        good = {site.upload(content) for content in make_study(instances=10)}
        site.start_worker()

        def all_is_well() -> bool:
            rows = site.rows()
            return {row.orthanc_id for row in rows if row.state == "confirmed"} == good

        wait_until(all_is_well, 60, lambda: f"{site.states()}\n{site.log()[-6000:]}")
        with engine.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT id FROM gcp_transfers WHERE reason = 'damaged'"
            )
            damaged = set(found.scalars())
        assert damaged <= set(planted)
        for number in damaged:
            assert f"row {number} of gcp_transfers is damaged" in site.log()
        if engine.dialect.name == "sqlite":
            assert len(damaged) > 30, "most columns take anything there"
            assert "of gcp_key_values is damaged in value" in site.log()
        assert "Traceback" not in site.log()
        assert set(metadata.tables) <= set(sql.inspect(engine).get_table_names())
        engine.dispose()
    assert not file.exists()
