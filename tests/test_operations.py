"""The commands of ``docs/operations.md``, given to ledgers that are in use."""

from __future__ import annotations

import configparser
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.signatures.signing_key import NAME, issued, public_key
from orthanc_gcp.ledger.database import FILE_NAME, connect, url_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.upgrade import require_current
from orthanc_gcp.ledger.workers import worker_registry
from orthanc_gcp.orthanc.installation import service_of
from tests.support.documents import ROOT, blocks
from tests.support.ledgers import (
    ORTHANC,
    arrival,
    claim,
    clock,
    engine,
    ledger,
    postgresql_ledger,
    settle_batch,
    sqlite_ledger,
    states,
)
from tests.support.simulation import FakeClock

__all__ = ["clock", "engine", "ledger", "postgresql_ledger", "sqlite_ledger"]

PAGE = list(blocks(ROOT / "docs" / "operations.md"))
BACKUP, DUMP, RESTORE, READ_DUMP = (one.text for one in PAGE if one.language == "sh")
(NEW_KEY,) = (one.text for one in PAGE if one.language == "sql")
TEMPORARY_FILES, DROP_IN = (one for one in PAGE if one.language == "ini")
STORAGE, BACKUPS = "/var/lib/orthanc/db-v6", "/var/backups"


@dataclass(frozen=True)
class Machine:
    """Where the page's paths are here, and which database it means."""

    storage: Path
    backups: Path
    database: str = ""

    def run(self, block: str) -> None:
        """Each line of a block; what the service manager does is the test's."""
        for line in block.splitlines():
            if line.startswith("systemctl"):
                continue
            command = (
                line.replace("python3 -c", f"{sys.executable} -c")
                .replace(STORAGE, str(self.storage))
                .replace(BACKUPS, str(self.backups))
                .replace("DATABASE", self.database)
                .replace("-o orthanc -g orthanc ", "")
            )
            done = subprocess.run(
                ["sh", "-ec", command], capture_output=True, text=True, env=dict(os.environ)
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.fixture
def backups(tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


def fill(ledger: Ledger) -> None:
    """Two that are confirmed, one that is being sent."""
    ledger.arrivals.record([arrival("one"), arrival("two"), arrival("three")])
    assert sorted(claim(ledger, "b", most_instances=2)) == ["one", "two"]
    settle_batch(ledger, State.CONFIRMED, "b")
    assert claim(ledger, "c") == ["three"]


AS_IT_WAS = {"one": "confirmed", "two": "confirmed", "three": "sending"}


def test_a_ledger_in_a_file(sqlite_ledger, tmp_path, backups):
    """It is copied while a worker writes it, and is then all of the backup, without any log."""
    machine = Machine(tmp_path, backups)
    registry = worker_registry(sqlite_ledger.engine, "w", FakeClock())
    registry.join()
    fill(sqlite_ledger)
    machine.run(BACKUP)
    sqlite_ledger.arrivals.record([arrival("later")])
    registry.leave()
    sqlite_ledger.engine.dispose()
    (tmp_path / f"{FILE_NAME}-wal").write_bytes(b"of another ledger")
    machine.run(RESTORE)
    engine = connect(url_of("", tmp_path))
    require_current(engine)
    assert states(Ledger(engine)) == AS_IT_WAS
    engine.dispose()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    check = sqlite3.connect(tmp_path / FILE_NAME)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_an_older_backup_is_not_overwritten(sqlite_ledger, tmp_path, backups):
    machine = Machine(tmp_path, backups)
    machine.run(BACKUP)
    with pytest.raises(AssertionError, match="already exists"):
        machine.run(BACKUP)


def test_a_ledger_in_postgresql(postgresql_ledger, postgresql, tmp_path, backups):
    """Also where a newer version has added a table, and beside tables of others."""
    machine = Machine(tmp_path, backups, postgresql)
    fill(postgresql_ledger)
    machine.run(DUMP)
    postgresql_ledger.arrivals.record([arrival("later")])
    with psycopg.connect(postgresql, autocommit=True) as admin:
        admin.execute("CREATE TABLE gcp_of_a_newer_version (one int)")
        admin.execute("CREATE TABLE gcpatients (one int)")
        machine.run(READ_DUMP)
        assert admin.execute("SELECT to_regclass('gcp_of_a_newer_version')").fetchone() == (None,)
        assert admin.execute("SELECT count(*) FROM gcpatients").fetchone() == (0,)
        admin.execute("DROP TABLE gcpatients")
    postgresql_ledger.engine.dispose()
    require_current(postgresql_ledger.engine)
    assert states(postgresql_ledger) == AS_IT_WAS
    # What was dumped can be worked on: numbers go on, and what was claimed is claimed.
    postgresql_ledger.arrivals.record([arrival("later")])
    assert claim(postgresql_ledger, "d") == ["later"]
    with postgresql_ledger.reading() as connection:
        assert connection.scalar(sql.text("SELECT count(*) FROM gcp_transfers")) == 4
    assert ORTHANC


def test_a_damaged_key_is_deleted_and_a_new_one_is_made(ledger):
    """And nothing else goes with it."""
    former = public_key(ledger)
    damaged = {"Algorithm": "Ed25519", "PrivateKey": ""}
    ledger.key_values.set(NAME, damaged)
    ledger.key_values.set("another", {"value": 1})
    assert issued(ledger, {"Kind": "Receipt"})["Signature"] is None
    assert ledger.key_values.get(NAME, dict) == damaged
    with ledger.writing() as connection:
        connection.exec_driver_sql(NEW_KEY)
    assert issued(ledger, {"Kind": "Receipt"})["Signature"] is not None
    assert public_key(ledger) != former
    assert ledger.key_values.get("another", dict) == {"value": 1}


def test_the_unit_that_logs_into_the_journal_is_found(tmp_path):
    """By what asks systemd's units, and by systemd's own check."""
    units = tmp_path / "units"
    drop_in = units / "orthanc.service.d" / Path(DROP_IN.place).name
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(DROP_IN.text)
    config = tmp_path / "orthanc"
    config.mkdir()
    unit = Path("/lib/systemd/system/orthanc.service").read_text()
    own = unit.replace("/etc/orthanc", str(config))
    (units / "orthanc.service").write_text(own)
    drop_in.write_text(DROP_IN.text.replace("/etc/orthanc", str(config)))
    found = service_of(config, units=[units], processes=tmp_path / "none")
    assert found is not None and found.source == "orthanc.service"
    parsed = configparser.ConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(DROP_IN.text)
    assert "--logdir" not in parsed["Service"]["ExecStart"]


def test_old_logs_are_removed_by_age():
    kind, path, mode, user, group, age = TEMPORARY_FILES.text.split()
    unit = Path("/lib/systemd/system/orthanc.service").read_text()
    assert f"--logdir={path}" in unit
    # tmpfiles.d(5): "e" cleans a folder and leaves its owner and mode as they are.
    assert (kind, mode, user, group, age) == ("e", "-", "-", "-", "30d")
