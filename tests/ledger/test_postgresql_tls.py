"""A password and rows go only to the PostgreSQL server that is meant."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sql
from sqlalchemy.exc import OperationalError

from orthanc_gcp.ledger.database import connect, url_of, words_of
from orthanc_gcp.ledger.postgresql_tls import weakness, with_tls
from tests.support.certificates import Authority
from tests.support.postgres import Postgres

PASSWORD = "p@ss/w:ö rd%2F?#'\\"
ENCODED = "p%40ss%2Fw%3A%C3%B6%20rd%252F%3F%23'%5C"


def settled(url: str) -> sql.URL:
    return with_tls(sql.make_url(url), Path("/authorities.pem"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/db",
        "postgresql://192.0.2.1/db",
        "postgresql://localhost.example/db",
        "postgresql://127.0.0.1.example/db",
        "postgresql:///db?host=localhost:1&host=host:2",
        "postgresql:///db?host=host",
        "postgresql:///db?hostaddr=192.0.2.1",
        "postgresql://localhost/db?host=other",
        "postgresql:///db?service=custody",
        "postgresql://host/db?hostaddr=127.0.0.1",
    ],
)
def test_a_server_elsewhere_has_to_prove_who_it_is(url: str) -> None:
    query = settled(url).query
    assert query["sslmode"] == "verify-full"
    assert query["sslrootcert"] == "/authorities.pem"
    assert weakness(settled(url)) is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db",
        "postgresql://localhost/db",
        "postgresql://LOCALHOST:5432/db",
        "postgresql://127.0.0.1:5432/db",
        "postgresql://[::1]:5432/db",
        "postgresql:///db?host=127.0.0.1:1&host=localhost:2&host=[::1]:3",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://localhost/db?host=/run/postgresql",
    ],
)
def test_what_stays_on_this_machine(url: str) -> None:
    assert settled(url) == sql.make_url(url)
    assert weakness(settled(url)) is None


def test_a_host_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    assert settled("postgresql:///db").query["sslmode"] == "verify-full"
    monkeypatch.setenv("PGHOST", "/run/postgresql")
    assert settled("postgresql:///db") == sql.make_url("postgresql:///db")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_weaker_only_when_written_down(mode: str) -> None:
    url = settled(f"postgresql://host/db?sslmode={mode}")
    assert url.query["sslmode"] == mode
    assert f"sslmode={mode}" in (weakness(url) or "")


def test_authorities_of_the_address_come_first() -> None:
    assert settled("postgresql://h/db?sslrootcert=/a").query["sslrootcert"] == "/a"
    machine = with_tls(sql.make_url("postgresql://h/db"), None).query["sslrootcert"]
    assert machine == "system" or Path(str(machine)).is_file()


class Greedy:
    """A server that has no TLS, and asks for the password in clear."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(5)
                    self._ask(connection)

    def _ask(self, connection: socket.socket) -> None:
        while request := connection.recv(10_000):
            self.received += request
            if b"hush" in request:
                return
            is_about_encryption = request[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30")
            connection.sendall(b"N" if is_about_encryption else b"R\0\0\0\x08\0\0\0\x03")


def attempt(url: str) -> str:
    """Connect; return what is said of the failure."""
    engine = connect(url)
    with pytest.raises(OperationalError) as caught, engine.connect():
        pass
    return words_of(caught.value)


def test_a_server_without_tls_is_told_nothing() -> None:
    server = Greedy()
    try:
        words = attempt(
            url_of(f"postgresql://me:hush@db.example:{server.port}/db?hostaddr=127.0.0.1", Path())
        )
        assert b"hush" not in server.received
        assert b"me" not in server.received
        assert "server does not support SSL" in words
        attempt(
            url_of(
                f"postgresql://me:hush@db.example:{server.port}/db"
                "?hostaddr=127.0.0.1&sslmode=prefer",
                Path(),
            )
        )
        assert b"hush" in server.received  # so the server would have had it
    finally:
        server.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Postgres]:
    running = Postgres(authority.issue("127.0.0.1", host="db.example"))
    yield running
    running.remove()


def address(server: Postgres, host: str, more: str = "") -> str:
    return f"postgresql://postgres:hush@{host}:{server.port}/postgres?hostaddr=127.0.0.1{more}"


def test_a_server_of_that_name(server: Postgres, authority: Authority) -> None:
    engine = connect(url_of(address(server, "db.example"), Path(), authority.file))
    with engine.connect() as connection:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert connection.scalar(sql.text(query)) is True
    engine.dispose()


def test_a_server_of_another_name_or_authority(server: Postgres, authority: Authority) -> None:
    of_another_name = url_of(address(server, "other.example"), Path(), authority.file)
    assert "does not match host name" in attempt(of_another_name)
    of_nobody = url_of(address(server, "db.example"), Path())
    assert "certificate verify failed" in attempt(of_nobody)


def test_the_password_stands_in_no_message(tmp_path: Path) -> None:
    for host in ("127.0.0.1:1", "no.example.invalid:1", "a,b"):
        url = url_of(f"postgresql://me:{ENCODED}@{host}/db", Path())
        assert sql.make_url(url).password == PASSWORD
        words = attempt(url)
        for part in ("p@ss", "ö", "%2F", "rd"):
            assert part not in words.replace("could not", "")
