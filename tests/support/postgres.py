"""A PostgreSQL of a test's own: in a folder, on a free port, stopped by its own pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.support.orthanc import free_port, wait_until

_USER = "postgres"


class Postgres:
    """The Debian package's server; it refuses to run as root, so it runs as its own user."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        # Not in pytest's folders, which are closed to other users.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._folder / "data"
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self.port = free_port()
        self.url = f"postgresql://{_USER}@127.0.0.1:{self.port}/postgres"
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self._folder, _USER)
            self._as_user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"]
        self._certificate = self._copied(certificate) if certificate else None
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", _USER, "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def _copied(self, files: tuple[Path, Path]) -> tuple[Path, Path]:
        """Copies of certificate and key that the server's user owns, as the server wants it."""
        copies = self._folder / "server.pem", self._folder / "server.key"
        for file, copy in zip(files, copies, strict=True):
            shutil.copyfile(file, copy)
            copy.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(copy, _USER)
        return copies

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    def start(self) -> None:
        command = [
            *self._as_user,
            str(self._programs / "postgres"),
            *("-D", str(self._data), "-p", str(self.port), "-k", str(self._folder)),
            *("-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"),
        ]
        if self._certificate:
            certificate, key = self._certificate
            options = ("ssl=on", f"ssl_cert_file={certificate}", f"ssl_key_file={key}")
            command += [word for option in options for word in ("-c", option)]
        log = self._folder / "log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=file, cwd="/")
        wait_until(self.answers, 30, lambda: log.read_text())

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def set(self, option: str, value: str) -> None:
        """For all sessions, from their next transaction on."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET {option} = {value}")
            connection.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """At once, as a crash would end it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)
