"""The command that answers workstations: its beginning and its end."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from orthanc_gcp.gateway.gateway import Gateway
from tests.support.terminal import invoke


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_until_it_is_stopped(config, process, monkeypatch, number):
    options = json.loads(config.read_text())
    (name,) = options["GoogleCloudPlatform"]["Accounts"]
    options["GoogleCloudPlatform"]["Gateway"] = {"Aets": {"GOOGLE": name}, "Port": 0}
    config.write_text(json.dumps(options))
    run = Gateway.run

    def run_and_stop(gateway):
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        run(gateway)

    monkeypatch.setattr(Gateway, "run", run_and_stop)
    assert invoke("gateway", config).stdout == ""


def test_without_a_gateway_it_ends(config):
    assert "Gateway: missing" in invoke("gateway", config, code=2).stderr


def test_with_a_mistake_it_ends(config):
    options = json.loads(config.read_text())
    options["GoogleCloudPlatform"]["Gateway"] = {"Aets": {"GOOGLE": "nobody"}}
    config.write_text(json.dumps(options))
    assert "there is no account 'nobody'" in invoke("gateway", config, code=2).stderr
