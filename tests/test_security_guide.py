"""What ``docs/security.md`` says is enough, is enough."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from orthanc_gcp.custody.signatures.signing_key import issued
from orthanc_gcp.doctor.account import DELETE, READ, WRITE
from orthanc_gcp.ledger.database import connect, url_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.upgrade import prepare, require_current
from orthanc_gcp.ledger.workers import worker_registry
from tests.support.postgres import Postgres
from tests.support.simulation import FakeClock

GUIDE = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
MOST_EXPOSED = 2.0
"""Of the 10 points by which systemd-analyze counts what a unit could still do."""


PACKAGE = Path(__file__).parents[1] / "src" / "orthanc_gcp"
LISTENS = re.compile(r"\bTCPServer\)|\.bind\(|create_server\(|uvicorn\.Server\b")
LISTENERS = {
    "commands/worker.py": "`orthanc-gcp worker --listen`",
    "emulator/http/uvicorn_server.py": "the emulator, on 127.0.0.1",
    "gateway/server.py": "[the gateway]",
    "worker/listener.py": "the worker's API",
    "worker/private_socket.py": "a Unix socket",
}
"""Each module that listens, and what stands for its socket in the guide."""
ASKS_WHETHER_A_PORT_IS_FREE = "commands/demonstration.py"
SERVICES = {"emulator", "gateway", "sidecar", "worker"}
"""The commands that run until they are stopped."""


def section(title: str) -> str:
    return GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_socket_and_every_service_is_in_the_guide() -> None:
    listening = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if LISTENS.search(file.read_text())
    }
    assert listening == {*LISTENERS, ASKS_WHETHER_A_PORT_IS_FREE}
    sockets, processes = section("Sockets"), section("What runs, and as whom")
    assert [words for words in LISTENERS.values() if words not in sockets] == []
    assert [name for name in SERVICES if name not in processes] == []


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_rights_in_postgresql_are_enough() -> None:
    server = Postgres()
    try:
        of_worker, of_reader = blocks("sql")
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            admin.execute(of_worker)
        worker = _as(server, "orthanc_gcp")
        engine = connect(url_of(worker, Path()))
        prepare(engine)
        registry = worker_registry(engine, "one", FakeClock())
        registry.reserve()
        registry.join()
        assert registry.refresh("") == []
        assert registry.alive
        Ledger(engine).key_values.change("name", dict, lambda _: {"a": 1})
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(of_reader)
        reader = connect(url_of(_as(server, "orthanc_gcp_reader"), Path()))
        require_current(reader)
        assert Ledger(reader).key_values.get("name", dict) == {"a": 1}
        assert issued(Ledger(engine), {})["Signature"]
        refused = issued(Ledger(reader), {})
        assert refused["Signature"] is None
        assert "permission denied" in refused["Unsigned"]
        with pytest.raises(Exception, match="permission denied"):
            Ledger(reader).key_values.change("name", dict, lambda _: {"a": 2})
        registry.leave()
        engine.dispose()
        reader.dispose()
    finally:
        server.remove()


def _as(server: Postgres, role: str) -> str:
    return server.url.replace("postgres@", f"{role}@")


def test_rights_at_google_are_those_that_the_check_asks_for() -> None:
    table = section("The least rights at Google")
    assert re.findall(r"^\| `(healthcare[.\w]+)`", table, re.MULTILINE) == [WRITE, READ, DELETE]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_the_unit_is_one_and_can_do_little(tmp_path: Path) -> None:
    (text,) = blocks("ini")
    unit = tmp_path / "orthanc-gcp-worker.service"
    unit.write_text(text.replace("/usr/bin/orthanc-gcp", "/bin/true"))
    command = ["systemd-analyze", "--man=no", "verify", str(unit)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "orthanc-gcp-worker" not in verified.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert float(exposure) <= MOST_EXPOSED


def test_the_unit_starts_a_worker_as_orthanc() -> None:
    (text,) = blocks("ini")
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    assert unit["Service"]["User"] == "orthanc"
    assert unit["Service"]["ExecStart"] == "/usr/bin/orthanc-gcp worker /etc/orthanc"
