"""The worker as a process that is handed everything on its standard input."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from orthanc_gcp.transport.unix_socket import UnixPool
from orthanc_gcp.worker import supervised
from orthanc_gcp.worker.handshake import WorkerAddress, WorkerInput
from orthanc_gcp.worker.launch import NOT_CONFIGURED, NOT_INSTALLED
from orthanc_gcp.worker.progress import HUNG
from tests.support.orthanc import free_port, wait_until


@pytest.fixture
def given(tmp_path) -> WorkerInput:
    """An Orthanc that does not run, with a ledger of its own."""
    return WorkerInput(
        configuration={"StorageDirectory": str(tmp_path)},
        folder=tmp_path,
        orthanc=f"http://127.0.0.1:{free_port()}/",
        fingerprint="",
        authorization="Bearer hush-1",
        name="w",
        since=0,
        secret="hush-2",
    )


@pytest.fixture
def started(tmp_path):
    """Starts a worker; what it logs is in ``.log``."""
    running = []

    def start(line, **environment):
        log = tmp_path / "worker.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "orthanc_gcp", "worker", "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **environment},
            )
        running.append(process)
        process.log = log
        process.stdin.write(line)
        process.stdin.flush()
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_it_answers_and_ends_with_its_input(started, given):
    process = started(given.line())
    place = WorkerAddress.of_line(process.stdout.readline()).socket
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert not psutil.Process(process.pid).net_connections("inet"), "no port is open"
    with UnixPool(place, 1) as http:
        url = "/gcp/transfers"
        assert http.request("GET", url).status == 401
        headers = {"Authorization": f"Bearer {given.secret}"}
        # Until its ledger is there, it only says that it starts.
        wait_until(lambda: http.request("GET", url, headers=headers).status == 200, 30)
        assert http.request("GET", url, headers=headers).json() == []
    process.stdin.close()
    assert process.wait(30) == 0
    assert not place.parent.exists()
    assert process.stdout.read() == b""
    assert "hush" not in process.log.read_text()


HANGING = """
import threading
from orthanc_gcp.custody.transfer.dispatcher import Dispatcher
from orthanc_gcp.worker import progress
progress.ROUND = 0.02
Dispatcher.step = lambda _: threading.Event().wait()
"""
"""Python runs it before anything else: the loop that sends hangs."""


def test_one_that_hangs_ends_itself(started, given, tmp_path):
    (tmp_path / "hanging").mkdir()
    (tmp_path / "hanging" / "sitecustomize.py").write_text(HANGING)
    path = os.pathsep.join([str(tmp_path / "hanging"), *sys.path])
    process = started(given.line(), PYTHONPATH=path)
    assert process.wait(60) == HUNG
    said = process.log.read_text()
    assert "the worker hangs: dispatch has made no progress" in said
    assert "sitecustomize.py" in said, "the log has the place"
    assert "hush" not in said


def test_it_ends_on_demand(started, given):
    process = started(given.line())
    process.stdout.readline()
    process.terminate()
    assert process.wait(30) == 0


def test_what_another_version_writes_is_told_once(started):
    process = started(b'{"Configuration": {}}\n')
    assert process.wait(30) == NOT_CONFIGURED
    (line,) = process.log.read_text().splitlines()
    assert line.startswith("ERROR the first line of stdin is not from the plugin of this version")


@pytest.fixture
def ends(monkeypatch):
    """Runs in this process what does not come as far as to work; the exit code."""
    levels = {name: logging.getLogger(name).level for name in ("orthanc_gcp", "orthanc_gcp.auth")}

    def run(line):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line)))
        return supervised.run()

    yield run
    ctypes.CDLL(None).prctl(1, 0)  # it has asked to be killed with its parent
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("line", [b"", b"\n", b"hush\n", b'{"Configuration": {}}\n'])
def test_what_another_version_writes(ends, line, caplog):
    assert ends(line) == NOT_CONFIGURED
    assert "restart Orthanc" in caplog.text
    assert "hush" not in caplog.text


def test_a_ledger_that_is_none(ends, given, caplog):
    section = {"GoogleCloudPlatform": {"Database": "mysql://me:hush@host/ledger"}}
    configuration = {**given.configuration, **section}
    assert ends(replace(given, configuration=configuration).line()) == NOT_CONFIGURED
    assert "GoogleCloudPlatform.Database: " in caplog.text
    assert "hush" not in caplog.text


def test_a_package_that_is_missing(started, given, tmp_path):
    hiding = tmp_path / "hiding" / "sqlalchemy"
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").write_text("raise ModuleNotFoundError('no', name='sqlalchemy')")
    path = os.pathsep.join([str(hiding.parent), os.environ.get("PYTHONPATH", "")])
    process = started(given.line(), PYTHONPATH=path)
    assert process.wait(30) == NOT_INSTALLED
    assert process.log.read_text().startswith("ERROR the worker needs sqlalchemy, which is not")


def test_two_of_one_name(started, given):
    first = started(given.line())
    first.stdout.readline()
    log = Path(first.log)
    while "has started" not in log.read_text():
        assert first.poll() is None
    second = started(given.line())
    assert second.wait(60) == 1
    assert log.read_text().startswith("ERROR ")
    assert first.poll() is None
