"""Damaged rows are found, told, and made harmless; sound ones stay as they are."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.studies import studies
from orthanc_gcp.ledger.damage import quarantine_damaged
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import UNSURE, State, transfers
from orthanc_gcp.ledger.selection import Selection


def arrive(ledger: Ledger, *names: str) -> None:
    usual = ("1.2", "1.2.3")
    ledger.arrivals.record(
        [NewTransfer("a", "o", name, *usual, f"1.2.3.{name}", 100, 5.0, "f") for name in names]
    )


def rows(ledger: Ledger) -> list[Any]:
    with ledger.reading() as connection:
        return list(connection.execute(sql.select(transfers).order_by(transfers.c.id)))


def write(ledger: Ledger, statement: str, **values: object) -> None:
    with ledger.writing() as connection:
        connection.execute(sql.text(statement), values)


def test_sound_rows_stay_as_they_are(ledger, caplog):
    arrive(ledger, "1", "2")
    ledger.key_values.set("number", 1.5)
    ledger.key_values.set("object", {"a": [None]})
    ledger.events.add("a", "paused", "")
    before = rows(ledger)
    quarantine_damaged(ledger.engine)
    assert rows(ledger) == before
    assert ledger.key_values.get("number", float) == 1.5
    assert ledger.key_values.get("object", dict) == {"a": [None]}
    assert not caplog.records


@pytest.mark.parametrize(
    "column", [column.name for column in transfers.columns if column.name != "id"]
)
def test_a_transfer_with_bytes_in_a_column_goes_to_quarantine(sqlite_ledger, column, caplog):
    arrive(sqlite_ledger, "1", "2")
    write(
        sqlite_ledger,
        f'UPDATE gcp_transfers SET "{column}" = :bytes WHERE id = 1',
        bytes=b"\xff\x80",
    )
    quarantine_damaged(sqlite_ledger.engine)
    damaged, sound = rows(sqlite_ledger)
    assert (damaged.state, damaged.reason) == (State.QUARANTINED, "damaged")
    assert damaged.stored_sha256 == UNSURE
    assert column in damaged.detail
    assert f"row 1 of gcp_transfers is damaged in {column}" in caplog.text
    assert sound.state == State.WAITING
    limits = {"most_instances": 9, "most_bytes": 999, "most_batches": 9}
    assert [row.id for row in sqlite_ledger.queue.claim("a", "o", "b", "w", **limits)] == [2]
    read = [one.as_json() for one in instances(sqlite_ledger, Selection()).items]
    assert len(read) == 2
    assert [one.as_json() for one in studies(sqlite_ledger, Selection()).items]
    assert [one.as_json() for one in Overview(sqlite_ledger).accounts()]
    caplog.clear()
    quarantine_damaged(sqlite_ledger.engine)
    assert not caplog.records, "once is enough"


def test_text_that_is_no_utf_8_stops_nobody(sqlite_ledger):
    arrive(sqlite_ledger, "1", "2")
    write(
        sqlite_ledger,
        "UPDATE gcp_transfers SET reason = CAST(:b AS TEXT) WHERE id = 1",
        b=b"\xff\xfe",
    )
    limits = {"most_instances": 9, "most_bytes": 999, "most_batches": 9}
    assert len(sqlite_ledger.queue.claim("a", "o", "b", "w", **limits)) == 2


@pytest.mark.parametrize(("column", "value"), [("state", "unknown"), ("priority", 9)])
def test_a_state_or_priority_that_does_not_exist_is_told(ledger, column, value, caplog):
    arrive(ledger, "1", "2")
    (first, _) = rows(ledger)
    write(
        ledger,
        f"UPDATE gcp_transfers SET {column} = :value WHERE id = :id",
        value=value,
        id=first.id,
    )
    quarantine_damaged(ledger.engine)
    damaged, sound = rows(ledger)
    assert (damaged.state, damaged.priority) == (State.QUARANTINED, 0)
    assert sound.state == State.WAITING
    assert f"row {first.id} of gcp_transfers is damaged in {column}" in caplog.text


def test_values_that_are_no_json_count_as_none(sqlite_ledger, caplog):
    for name, value in (("bytes", b"\x80\x04"), ("text", "{broken")):
        add = "INSERT INTO gcp_key_values VALUES (:name, :value)"
        write(sqlite_ledger, add, name=name, value=value)
    sqlite_ledger.key_values.set("sound", [1])
    quarantine_damaged(sqlite_ledger.engine)
    assert caplog.text.count("of gcp_key_values is damaged in value") == 2
    assert sqlite_ledger.key_values.starting_with("") == {"bytes": None, "text": None, "sound": [1]}


def test_damaged_events_and_studies_can_be_read(sqlite_ledger, caplog):
    write(
        sqlite_ledger,
        "INSERT INTO gcp_events (occurred_at, account, kind) VALUES (:b, :b, :b)",
        b=b"\x80\x04",
    )
    write(sqlite_ledger, "INSERT INTO gcp_backfill_studies VALUES ('o', :b, :b)", b=b"\x80\x04")
    quarantine_damaged(sqlite_ledger.engine)
    with sqlite_ledger.reading() as connection:
        events = connection.exec_driver_sql("SELECT occurred_at, account FROM gcp_events").all()
        studies = connection.exec_driver_sql("SELECT orthanc_id FROM gcp_backfill_studies").all()
    assert (events, studies) == ([(0, "8004")], [("8004",)])
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
