"""The address of a database, and the connections to it."""

from __future__ import annotations

import socket
import sqlite3
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sql

from orthanc_gcp import configuration
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.database import change_mark, find, is_away, reading, writing
from orthanc_gcp.ledger.schema import key_values
from orthanc_gcp.ledger.upgrade import prepare


def test_a_file_in_the_storage_folder_unless_a_database_is_named(tmp_path):
    assert database.url_of("", tmp_path) == f"sqlite:///{tmp_path}/orthanc-gcp.sqlite"
    assert database.url_of("sqlite:////x/y", tmp_path) == "sqlite:////x/y"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_by_each_of_its_names(scheme):
    url = database.url_of(f"{scheme}://me:secret@host/db", Path())
    assert url.startswith("postgresql+psycopg://me:secret@host/db?sslmode=verify-full&")


def test_a_password_may_hold_any_character():
    for password in ("a@b", "a%40b"):
        url = sql.make_url(database.url_of(f"postgresql://me:{password}@host/db", Path()))
        assert (url.username, url.password, url.host) == ("me", "a@b", "host")


def test_several_hosts():
    url = database.url_of("postgresql://me:pw@one:1,two:2/db?target_session_attrs=any", Path())
    assert sql.make_url(url).query["host"] == ("one:1", "two:2")
    assert sql.make_url(url).query["sslmode"] == "verify-full"
    engine = database.connect(database.url_of("postgresql://me@127.0.0.1:1,localhost:2/db", Path()))
    with pytest.raises(sql.exc.OperationalError, match="port 2"), engine.connect():
        pass


@pytest.mark.parametrize("wrong", ["mysql://me:hush@host/db", "/a/file", "postgresql//host"])
def test_another_database_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="expected postgresql://") as refused:
        database.url_of(wrong, Path())
    assert "hush" not in str(refused.value)


def test_a_ledger_is_not_begun_anew_because_of_a_mistake():
    settings = configuration.read({"GoogleCloudPlatform": {"Database": 17}})
    with pytest.raises(ConfigurationError, match="Database"):
        database.url_for(settings)


def test_a_place_is_named_without_a_password():
    engine = database.connect(database.url_of("postgresql://me:hush@host/db", Path()))
    assert "hush" not in database.place(engine)
    assert "host/db" in database.place(engine)


def test_a_ledger_is_for_its_owner_and_group(tmp_path):
    url = database.url_of("", tmp_path)
    for mode, expected in ((None, 0o600), (0o644, 0o640), (0o666, 0o660), (0o600, 0o600)):
        file = tmp_path / database.FILE_NAME
        if mode is not None:
            file.chmod(mode)
        engine = database.connect(url)
        database.make_private(engine)
        prepare(engine)
        for path in tmp_path.iterdir():
            assert path.stat().st_mode & 0o777 == expected, path
        engine.dispose()


def test_a_ledger_that_cannot_be_made_is_for_sqlite_to_refuse(tmp_path):
    database.make_private(database.connect(database.url_of("", tmp_path / "nowhere")))


def test_writers_take_turns(engine):
    """Each sees what the one before has written, also what it read first."""
    prepare(engine)
    with writing(engine) as connection:
        connection.execute(key_values.insert().values(name="n", value=0))

    def count() -> None:
        for _ in range(20):
            with writing(engine) as connection:
                query = sql.select(key_values.c.value).with_for_update()
                value = connection.scalar(query)
                connection.execute(key_values.update().values(value=value + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.scalar(sql.select(key_values.c.value)) == 80


def test_one_connection_after_the_other_is_the_same(sqlite_ledger):
    """Each has a cache of its own, which fills up with whatever is asked through it."""
    engine = sqlite_ledger.engine
    with engine.connect(), engine.connect():
        pass
    used = set()
    for _ in range(4):
        with engine.connect() as connection:
            used.add(id(connection.connection.dbapi_connection))
    assert len(used) == 1


def test_what_is_found_is_what_sqlalchemy_finds(engine):
    table = sql.Table(
        "found", sql.MetaData(), sql.Column("n", sql.Integer), sql.Column("word", sql.Text)
    )
    query = (
        sql.select(table.c.n, table.c.word)
        .where(
            table.c.n.in_(sql.bindparam("some", expanding=True)),
            table.c.word.in_(["100%", "b", "c"]),
            table.c.n > sql.bindparam("least"),
            table.c.word != sql.literal("d", literal_execute=True),
        )
        .order_by(table.c.n)
        .limit(sql.bindparam("most", type_=sql.Integer))
    )
    rows = [{"n": n, "word": ("100%", "b", "d")[n % 3]} for n in range(9)]
    with writing(engine) as connection:
        table.create(connection)
        connection.execute(table.insert(), rows)
        for some in [3], [5, 3], [4, 3], [1, 2, 3, 4, 5], [9], list(range(400)):
            values = {"some": some, "least": 1, "most": 3}
            expected = [tuple(row) for row in connection.execute(query, values)]
            assert bool(expected) is (some != [9])
            assert [tuple(row) for row in find(connection, query, values)] == expected
        table.drop(connection)


def test_what_fails_is_not_written(engine):
    prepare(engine)
    with pytest.raises(RuntimeError), writing(engine) as connection:
        connection.execute(key_values.insert().values(name="n", value=0))
        raise RuntimeError
    with reading(engine) as connection:
        assert connection.scalar(sql.select(key_values.c.name)) is None


def test_a_database_that_is_away_is_told_from_a_wrong_question(engine, tmp_path):
    gone = database.connect("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(sql.exc.OperationalError) as away, reading(gone):
        pass
    assert is_away(away.value)
    duplicate = key_values.insert().values(name="n", value=0)
    prepare(engine)
    with pytest.raises(sql.exc.IntegrityError) as wrong, writing(engine) as connection:
        connection.execute(duplicate)
        connection.execute(duplicate)
    assert not is_away(wrong.value)


def test_a_database_that_may_only_be_read_is_away(postgresql_ledger):
    engine = postgresql_ledger.engine
    with pytest.raises(sql.exc.DBAPIError) as only_read, writing(engine) as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.execute(key_values.insert().values(name="n", value=0))
    assert is_away(only_read.value)


def test_threads_that_write_into_a_file_take_turns_on_one_connection(tmp_path):
    engine = database.connect(f"sqlite:///{tmp_path}/ledger")
    order, connections = [], set()

    def write(number):
        with database.writing(engine) as connection:
            order.append(number)
            connections.add(connection.connection.dbapi_connection)

    with database.writing(engine) as connection:
        connections.add(connection.connection.dbapi_connection)
        threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        assert order == []
    for thread in threads:
        thread.join(10)
    assert sorted(order) == list(range(5))
    assert len(connections) == 1
    engine.dispose()
    (closed,) = connections
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        closed.execute("SELECT 1")


def test_a_turn_that_does_not_end_is_left_to_sqlite(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    engine = database.connect(f"sqlite:///{tmp_path}/ledger")
    held, done = threading.Event(), threading.Event()

    def hold():
        with database.writing(engine):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        with pytest.raises(sql.exc.OperationalError, match="locked"), database.writing(engine):
            pass
    finally:
        done.set()
        thread.join(10)
    with database.writing(engine):
        pass
    engine.dispose()


def test_a_file_is_written_by_one_thread_at_a_time_whatever_fails(tmp_path):
    engine = database.connect(f"sqlite:///{tmp_path}/ledger")
    for _ in range(3):
        with pytest.raises(RuntimeError), database.writing(engine):
            raise RuntimeError
    with database.writing(engine):
        pass
    engine.dispose()


def repeats_the_password(listener: socket.socket) -> None:
    """A PostgreSQL server that asks for the password in clear, and names it in its refusal.

    PostgreSQL documentation, "Message Formats".
    """
    with suppress(OSError):  # the test is over
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"R" + struct.pack(">II", 8, 3))
            password = connection.recv(4096)[5:].rstrip(b"\0")
            spelt = b" ".join([password, quote(password.decode(), safe="").encode()])
            fields = b"SFATAL\0VFATAL\0C28P01\0Mnot with " + spelt + b" of Doe\0\0"
            connection.sendall(b"E" + struct.pack(">I", len(fields) + 4) + fields)


def test_a_server_that_repeats_the_password():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=repeats_the_password, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        url = f"postgresql://me:zz%2Fhush%2B1@127.0.0.1:{port}/db?sslmode=disable"
        engine = database.connect(database.url_of(url, Path()))
        with pytest.raises(sql.exc.OperationalError) as caught, engine.connect():
            pass
        engine.dispose()
    said = f"{caught.value} {caught.value.orig} {database.words_of(caught.value)}"
    assert said.count("not with (masked) (masked)") == 3
    assert "hush" not in said


def test_whatever_is_written_leaves_a_mark(ledger):
    """Not on PostgreSQL, which says so too late."""
    is_sqlite = ledger.engine.dialect.name == "sqlite"
    marks = [change_mark(ledger.engine)]
    for number in range(5):
        ledger.key_values.set("name", float(number))
        marks.append(change_mark(ledger.engine))
        assert change_mark(ledger.engine) == marks[-1], "nothing was written"
    assert len(set(marks)) == (len(marks) if is_sqlite else 1)
    assert (None in marks) is not is_sqlite


def test_a_signal_within_a_statement_is_no_error_of_the_database(postgresql_ledger, monkeypatch):
    """psycopg can then not undo what is going on, and says so in an error of its own."""
    engine = postgresql_ledger.engine
    with engine.connect():
        pass  # the next one asks this connection whether it is still there

    def interrupted(cursor, *_arguments, **_options):
        cursor.connection.pgconn.send_query(b"SELECT pg_sleep(0.1)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.connect()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_database_that_is_away_after_a_signal_is_away():
    """What is to be written down of how far it came is not, and has to be said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    engine = database.connect(database.url_of(f"postgresql://127.0.0.1:{port}/db", Path()))
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with pytest.raises(sql.exc.OperationalError):
            engine.connect()
    engine.dispose()
