"""What the plugin says of a gateway: of one that runs, of one that cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.plugin import worker_client, worker_process
from orthanc_gcp.plugin.gateway_client import GatewayClient, NoGateway
from orthanc_gcp.plugin.routes import from_gateway
from orthanc_gcp.plugin.worker_process import WorkerProcess, command
from orthanc_gcp.worker.handshake import WorkerInput
from tests.support.keys import user_account
from tests.support.orthanc import free_port, wait_until


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Starts a gateway as the plugin does."""
    monkeypatch.setattr(worker_client, "REFRESH_EVERY", 0.1)
    monkeypatch.setattr(worker_process, "BACKOFF", Backoff(0.05, 0.05, jitter=0))
    made = []

    def start(port=None, program=None, **gateway):
        section = {
            "Accounts": {"a": user_account("http://127.0.0.1:9")},
            "Gateway": {"Aets": {"G": "a"}, "Port": port or free_port(), **gateway},
        }
        configuration = {"StorageDirectory": str(tmp_path), "GoogleCloudPlatform": section}
        given = WorkerInput(configuration, Path(tmp_path), "", "", "", "", 0, "hush")
        run = command(sys.executable, "gateway") if program is None else program
        shown = {}

        def show(samples):
            shown.update({(one.metric.name, *one.labels.values()): one.value for one in samples})

        process = WorkerProcess(run, given, "gateway", "workstations are not answered")
        client = GatewayClient(process, given.secret, show)
        client.shown = shown
        client.start()
        made.append(client)
        return client

    yield start
    for client in made:
        client.stop()


def test_one_that_runs(begin):
    client = begin()
    wait_until(lambda: client.status()["State"] == "Running", 30)
    wait_until(lambda: client.shown.get(("gcp_gateway_up",)) == 1)
    assert client.shown["gcp_gateway_associations",] == 0
    assert client.shown["gcp_gateway_open_commitments",] == 0
    client.stop()
    wait_until(lambda: client.status()["State"] != "Running")


def test_one_that_cannot(begin):
    client = begin(MaxAnswers=-1)
    wait_until(lambda: client.status()["State"] == "Stopped", 30)
    assert "MaxAnswers" in client.status()["Problem"]
    assert client.shown == {("gcp_gateway_up",): 0}


def test_one_that_dies_is_started_again(begin):
    program = "import sys; sys.stderr.write('ERROR it has no port\\n'); sys.exit(1)"
    client = begin(program=[sys.executable, "-c", program])
    wait_until(lambda: client.status() == {"State": "Stopped", "Problem": "it has no port"})


@pytest.mark.parametrize(
    ("gateway", "method", "status"),
    [(None, "GET", 404), (None, "POST", 405), (NoGateway("no"), "GET", 200)],
)
def test_the_route(gateway, method, status):
    answer = from_gateway(gateway, method)
    assert answer.status == status
    if status == 200:
        assert json.loads(answer.text) == {"State": "Stopped", "Problem": "no"}
