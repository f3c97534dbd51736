"""The command that runs the connector beside an Orthanc: its beginning and its end."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from orthanc_gcp.connector.sidecar import Sidecar
from tests.support.terminal import invoke, write_config


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_waits_for_orthanc_until_it_is_stopped(config, process, monkeypatch, number):
    """Nothing answers at the port of this configuration; the signal comes once it runs."""
    run = Sidecar.run

    def run_and_stop(sidecar):
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        run(sidecar)

    monkeypatch.setattr(Sidecar, "run", run_and_stop)
    assert invoke("sidecar", config).stdout == ""


def test_without_an_account_it_ends(tmp_path):
    file = tmp_path / "orthanc.json"
    write_config(file, {"Accounts": {}})
    assert "account" in invoke("sidecar", file, code=2).stderr
    file.write_text(json.dumps({}))
    assert "No Google Cloud Platform account" in invoke("sidecar", file, code=2).stderr
