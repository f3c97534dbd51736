"""A worker that cannot be made, and what its user is told to do."""

from __future__ import annotations

import gc
import sys

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.worker.launch import COLLECT_AFTER, collect_rarely, make, not_installed


def settings_with(tmp_path, **section):
    return configuration.read({"GoogleCloudPlatform": section, "StorageDirectory": str(tmp_path)})


def test_a_worker_is_made_and_writes_nothing_yet(tmp_path):
    make(settings_with(tmp_path), OrthancRest("http://127.0.0.1:1/"), "w")
    assert list(tmp_path.iterdir()) == []


def test_garbage_is_still_collected_but_less_often():
    before = gc.get_threshold()
    try:
        collect_rarely()
        assert gc.isenabled()
        assert gc.get_threshold()[0] == COLLECT_AFTER
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def test_a_database_that_is_none(tmp_path):
    settings = settings_with(tmp_path, Database="mysql://me:hush@host/ledger")
    with pytest.raises(ConfigurationError, match="Database") as caught:
        make(settings, OrthancRest("http://127.0.0.1:1/"), "w")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "extra", "words"),
    [
        (
            ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy"),
            "worker",
            "the worker needs sqlalchemy, which is not installed: {python} -m pip install "
            "'orthanc-gcp[worker]'",
        ),
        (
            ImportError("undefined symbol: x\nmore", name="psycopg"),
            "worker",
            "the worker cannot load psycopg (undefined symbol: x): {python} -m pip install "
            "'orthanc-gcp[worker]'",
        ),
        (
            ImportError("broken"),
            "",
            "the worker cannot load a package (broken): {python} -m pip install 'orthanc-gcp'",
        ),
    ],
)
def test_what_to_install(monkeypatch, error, extra, words):
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    found = not_installed("the worker", error, extra)
    assert found == words.format(python="'/opt/my python/bin/python'")
