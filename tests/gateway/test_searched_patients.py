"""Whom somebody has searched for is written down, without saying who it is."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.errors import OrthancUnavailableError
from orthanc_gcp.gateway import searched_patients
from orthanc_gcp.gateway.request import request_of
from orthanc_gcp.gateway.searched_patients import SearchedPatients
from tests.support.ledgers import A
from tests.support.threads import without_threads

NAME = "Hospital/ORTHANC"


def asked(patient):
    return request_of({"00080052": "STUDY", "00100020": patient})


def match(study):
    return {"0020000D": {"vr": "UI", "Value": [study]}}


def made(ledger, name=lambda: NAME):
    return SearchedPatients(ledger, {A}, name)


def test_each_patient_once(sqlite_ledger, monkeypatch):
    monkeypatch.setattr(searched_patients, "MOST_PATIENTS", 2)
    sqlite_ledger.indexes.begin(NAME, 0, 0.0)
    (cursor,) = sqlite_ledger.indexes.all()
    patients = made(sqlite_ledger)
    for patient, study in (
        ("4711", "1.1"),
        ("4711", "1.2"),  # the same
        ("4712", "1.3"),
        ("47*", "1.4"),
        ("4713\\4714", "1.5"),
        ("", "1.6"),
        ("4715", "no UID"),
        ("4716", "1.7"),
        ("4711", "1.8"),  # so many are remembered
    ):
        patients.found(A, asked(patient), match(study))
    patients.found("another account", asked("4717"), match("1.9"))
    patients.found(A, asked("4718"), {})
    patients._pool.shutdown(wait=True)
    rows = sqlite_ledger.prefetches.due(cursor.source, [A], 100)
    assert [row.orthanc_id for row in rows] == ["1.1", "1.3", "1.7", "1.8"]
    assert all(row.is_of_search for row in rows)
    patients.found(A, asked("4719"), match("1.9"))  # it is closed


def test_no_thread_can_be_started_for_a_while(sqlite_ledger, monkeypatch):
    """As at a limit of tasks: then each patient counts again."""
    monkeypatch.setattr(searched_patients, "MOST_WAITING", 3)
    sqlite_ledger.indexes.begin(NAME, 0, 0.0)
    (cursor,) = sqlite_ledger.indexes.all()
    patients = made(sqlite_ledger)
    with without_threads("gcp-searched"):
        for number in range(10):
            patients.found(A, asked(f"471{number}"), match(f"1.{number}"))
    patients.found(A, asked("4711"), match("1.1"))
    patients._pool.shutdown(wait=True)
    rows = sqlite_ledger.prefetches.due(cursor.source, [A], 100)
    assert [row.orthanc_id for row in rows] == ["1.1"]


def test_what_keeps_it_from_being_written(sqlite_ledger, caplog, monkeypatch):
    def away():
        raise OrthancUnavailableError("away")

    for name, words in ((away, "OrthancUnavailableError"), (lambda: NAME, "no worker")):
        patients = made(sqlite_ledger, name)
        for _ in range(2):
            patients.found(A, asked("4711"), match("1.1"))
            patients._pool.submit(int).result(20)
        assert caplog.text.count(words) == 1
        assert not patients._recent, "the next search counts"
        patients.close()
    with sqlite_ledger.engine.begin() as connection:
        connection.execute(sql.text("DROP TABLE gcp_change_cursors"))
    patients = made(sqlite_ledger)
    patients.found(A, asked("4711"), match("1.1"))
    patients._pool.submit(int).result(20)
    assert "OperationalError" in caplog.text
    assert "4711" not in caplog.text
    monkeypatch.setattr(searched_patients, "MOST_WAITING", 0)
    patients.found(A, asked("4711"), match("1.1"))
    assert not patients._recent
    patients.close()
