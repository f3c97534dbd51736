"""Commands migrate no ledger: of one that they cannot read they say why, in one line."""

from __future__ import annotations

import click
import pytest

from orthanc_gcp import configuration
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.errors import OrthancUnavailableError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.schema import key_values, schema_version
from orthanc_gcp.ledger.upgrade import LATEST, prepare


@pytest.fixture
def file(tmp_path):
    """A ledger of this version."""
    made = tmp_path / "ledger.sqlite"
    engine = database.connect(f"sqlite:///{made}")
    prepare(engine)
    engine.dispose()
    return made


@pytest.fixture
def settings(tmp_path):
    section = {"Accounts": {}, "Database": f"sqlite:///{tmp_path}/ledger.sqlite"}
    return configuration.read({"GoogleCloudPlatform": section}, tmp_path)


def refused(settings, capsys) -> str:
    with pytest.raises(click.exceptions.Exit) as ended, open_ledger(settings):
        pass
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def write(file, statement) -> None:
    engine = database.connect(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(statement)
    engine.dispose()


def test_a_ledger_of_this_version_is_opened(file, settings):
    with open_ledger(settings) as ledger:
        ledger.key_values.set("x", True)
    with open_ledger(settings) as ledger:
        assert ledger.key_values.get("x", bool) is True


def test_no_ledger_is_made(settings, tmp_path, capsys):
    assert "there is no ledger at" in refused(settings, capsys)
    assert not list(tmp_path.iterdir())


def test_an_older_ledger_is_left_to_the_worker(file, settings, capsys):
    write(file, schema_version.update().values(version=LATEST - 1))
    said = refused(settings, capsys)
    assert f"has version {LATEST - 1}" in said
    assert "the worker migrates it when it starts" in said


def test_a_newer_ledger_needs_a_newer_program(file, settings, capsys):
    write(file, schema_version.update().values(version=LATEST + 1))
    assert "upgrade orthanc-gcp" in refused(settings, capsys)


def test_a_damaged_ledger_is_named_so(file, settings, capsys):
    engine = database.connect(f"sqlite:///{file}")
    key_values.drop(engine)
    engine.dispose()
    assert "is damaged (the table gcp_key_values is missing)" in refused(settings, capsys)
    file.write_bytes(b"no database, and long enough for one" * 100)
    assert "is damaged (file is not a database)" in refused(settings, capsys)


def test_what_a_command_raises_itself_is_its_own(file, settings):
    with pytest.raises(OrthancUnavailableError), open_ledger(settings):
        raise OrthancUnavailableError("it is away")
