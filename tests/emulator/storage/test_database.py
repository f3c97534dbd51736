"""The database of a directory: all or nothing, a reader for each thread, copies."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from orthanc_gcp.emulator.storage.database import Database, json_object


def names(database: Database) -> list[str]:
    return [name for (name,) in database.read("SELECT name FROM datasets ORDER BY name")]


def add(database: Database, name: str) -> None:
    with database.transaction() as sql:
        sql.execute("INSERT INTO datasets VALUES (?, '{}')", (name,))


def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    add(database, "a")
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as sql:
        sql.execute("INSERT INTO datasets VALUES ('b', '{}')")
        sql.execute("INSERT INTO datasets VALUES ('a', '{}')")
    assert names(database) == ["a"]
    add(database, "b")
    assert names(database) == ["a", "b"]


def test_other_threads_read_what_is_committed(database: Database) -> None:
    found: list[list[str]] = []

    def read() -> None:
        thread = threading.Thread(target=lambda: found.append(names(database)))
        thread.start()
        thread.join()

    with database.transaction() as sql:
        sql.execute("INSERT INTO datasets VALUES ('a', '{}')")
        read()
    read()
    assert found == [[], ["a"]]


def test_writers_wait_for_each_other(database: Database) -> None:
    threads = [threading.Thread(target=add, args=(database, str(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(database) == [str(n) for n in range(8)]


def test_what_is_committed_is_there_again(database: Database, tmp_path: Path) -> None:
    add(database, "a")
    with closing(Database(tmp_path / "index.sqlite")) as again:
        assert names(again) == ["a"]


def test_a_copy_for_searches_stays_as_it_is(database: Database, tmp_path: Path) -> None:
    def stores(of: Database) -> list[str]:
        return [name for (name,) in of.read("SELECT name FROM stores ORDER BY name")]

    def add_store(name: str) -> None:
        with database.transaction() as sql:
            sql.execute("INSERT INTO stores (name, dataset, body) VALUES (?, '', '')", (name,))

    add_store("a")
    with database.transaction() as sql:  # one that has not ended does not hold it up
        sql.execute("INSERT INTO contents VALUES (1, 'abc')")
        database.copy_to(tmp_path / "copy.sqlite")
    add_store("b")
    with closing(Database(tmp_path / "copy.sqlite")) as copy:
        assert stores(copy) == ["a"]
        assert copy.read("SELECT * FROM contents").fetchall() == []


def test_person_names_are_matched_in_sql(database: Database) -> None:
    (found,) = database.read("SELECT fuzzy_match('jo', 'Doe^John'), fuzzy_match('x', 'Doe')")
    assert found == (1, 0)


def test_bodies_are_objects() -> None:
    assert json_object('{"name": "a"}') == {"name": "a"}


def test_the_connection_of_a_thread_ends_with_it(database: Database) -> None:
    names(database)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        thread = threading.Thread(target=names, args=(database,))
        thread.start()
        thread.join()
    # SQLite puts a few aside, to use them again.
    assert len(list(Path("/proc/self/fd").iterdir())) < opened + 5
