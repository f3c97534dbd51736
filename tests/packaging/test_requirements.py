"""Which packages an installation has."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import pytest

from artefacts.requirements import runtime_pins
from artefacts.source import ROOT
from artefacts.targets import LINUX, WINDOWS


def names(*extras, target=LINUX, **options) -> set[str]:
    return {pin.name for pin in runtime_pins(ROOT, extras, target, **options)}


def test_the_connector_alone_has_little():
    assert names() == {
        *("certifi", "cffi", "charset-normalizer", "click", "cryptography", "google-auth"),
        *("idna", "pyasn1", "pyasn1-modules", "pycparser", "requests", "urllib3"),
    }


def test_the_connector_alone_is_small():
    """Its libraries, as pip installs them, without what Python compiles of them."""
    files = [
        Path(str(file.locate()))
        for name in names()
        for file in distribution(name).files or ()
        if "__pycache__" not in file.parts
    ]
    assert sum(file.stat().st_size for file in files) <= 25e6


def test_extras_add_theirs_and_what_those_require():
    assert {"sqlalchemy", "psycopg", "psycopg-binary", "starlette", "anyio"} <= names("worker")
    assert not names("worker") & {"numpy", "greenlet", "pytest", "opentelemetry-api"}
    assert names("all") == names("worker", "emulator", "gateway")


def test_machines_and_pythons_differ():
    assert names("worker", target=WINDOWS) - names("worker") == {"filelock", "tzdata"}
    assert "typing-extensions" in names("worker", pythons=[(3, 11)])


def test_what_is_not_in_the_lock(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["nothing-of-that-name"]\n')
    (tmp_path / "requirements.lock").write_text("")
    with pytest.raises(ValueError, match=r"not in requirements\.lock: nothing-of-that-name"):
        runtime_pins(tmp_path, [], LINUX)
