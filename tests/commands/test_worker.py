"""The command that runs the worker: its beginning and its end."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from orthanc_gcp.commands.worker import SECRET
from orthanc_gcp.errors import LedgerError
from orthanc_gcp.reasons import LedgerReason
from orthanc_gcp.worker.launch import NOT_CONFIGURED
from orthanc_gcp.worker.worker import Worker
from tests.support.keys import STORE
from tests.support.orthanc import free_port
from tests.support.terminal import invoke, write_config

pytestmark = pytest.mark.usefixtures("process")


@pytest.fixture
def stored(tmp_path, config):
    """The configuration with a folder for the ledger."""
    write_config(config, StorageDirectory=str(tmp_path))
    return config


def stop_it(monkeypatch, number=signal.SIGTERM):
    """Have a signal come once the worker runs."""
    run = Worker.run

    def run_and_stop(worker):
        threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
        run(worker)

    monkeypatch.setattr(Worker, "run", run_and_stop)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_waits_for_orthanc_until_it_is_stopped(stored, tmp_path, monkeypatch, number):
    stop_it(monkeypatch, number)
    assert invoke("worker", stored, "--name", "here").stdout == ""
    assert (tmp_path / "orthanc-gcp.sqlite").exists()


def test_it_listens_where_it_is_told(stored, monkeypatch):
    stop_it(monkeypatch)
    place = f"127.0.0.1:{free_port()}"
    assert invoke("worker", stored, "--listen", place, **{SECRET: "hush" * 8}).stdout == ""


@pytest.mark.parametrize(
    ("place", "secret"),
    [
        ("127.0.0.1:1234", ""),
        ("127.0.0.1:1234", "hush" * 7 + "hus"),
        ("10.0.0.1:1234", "hush" * 8),
        ("127.0.0.1", "hush" * 8),
        ("x:y", "hush" * 8),
    ],
)
def test_where_it_cannot_listen(stored, place, secret):
    done = invoke("worker", stored, "--listen", place, code=NOT_CONFIGURED, **{SECRET: secret})
    assert "--listen: expected " in done.stderr
    if len(secret) < 32:
        assert f"a secret of 32 characters or more in the variable {SECRET}" in done.stderr
    assert "hush" not in done.stderr


def test_a_port_that_is_taken(stored):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = f"127.0.0.1:{other.getsockname()[1]}"
        done = invoke(
            "worker", stored, "--listen", place, code=NOT_CONFIGURED, **{SECRET: "x" * 32}
        )
    assert done.stderr.startswith(f"--listen {place}: ")


def test_an_account_with_a_mistake_is_no_reason_to_end(tmp_path, config, monkeypatch):
    account = {**STORE, "ServiceAccountFile": "none.json", "Location": 5}
    section = {"Accounts": {"my-google": account}, "Send": [{"To": "my-google"}]}
    write_config(config, section, StorageDirectory=str(tmp_path))
    stop_it(monkeypatch)
    invoke("worker", config)


def test_why_it_ends_by_itself(stored, monkeypatch):
    def run(_worker):
        raise LedgerError("another worker has this ledger", reason=LedgerReason.IN_USE)

    monkeypatch.setattr(Worker, "run", run)
    said = invoke("worker", stored, code=1).stderr
    assert said.splitlines()[-1] == "another worker has this ledger"


def test_without_an_account_it_ends(config):
    write_config(config, {"Accounts": {}})
    assert "account" in invoke("worker", config, code=2).stderr
