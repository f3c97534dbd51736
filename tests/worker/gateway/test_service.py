"""The gateway as a process that is handed everything on its standard input."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from orthanc_gcp.transport.unix_socket import UnixPool
from orthanc_gcp.worker.handshake import WorkerAddress, WorkerInput
from orthanc_gcp.worker.launch import NOT_CONFIGURED
from tests.support.keys import user_account
from tests.support.orthanc import free_port


@pytest.fixture
def started(tmp_path):
    """Starts a gateway; what it logs is in ``.log``."""
    running = []

    def start(port, **gateway):
        section = {
            "Accounts": {"a": user_account("http://127.0.0.1:9")},
            "Gateway": {"Aets": {"G": "a"}, "Port": port, **gateway},
        }
        configuration = {"StorageDirectory": str(tmp_path), "GoogleCloudPlatform": section}
        given = WorkerInput(configuration, tmp_path, "", "", "", "", 0, "hush")
        log = tmp_path / "gateway.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "orthanc_gcp", "gateway", "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=os.environ,
            )
        running.append(process)
        process.log = log
        process.stdin.write(given.line())
        process.stdin.flush()
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_it_answers_and_ends_with_its_input(started):
    port = free_port()
    process = started(port)
    place = WorkerAddress.of_line(process.stdout.readline()).socket
    with UnixPool(place, 1) as http:
        assert http.request("GET", "/gcp/gateway").status == 401
        headers = {"Authorization": "Bearer hush"}
        assert http.request("GET", "/health", headers=headers).status == 200
        shown = json.loads(http.request("GET", "/gcp/gateway", headers=headers).data)
    assert (shown["State"], shown["Port"], shown["Associations"]) == ("Running", port, 0)
    process.stdin.close()
    assert process.wait(30) == 0
    assert "hush" not in process.log.read_text()


def test_a_port_that_is_taken_may_be_free_later(started):
    with socket.create_server(("", 0)) as taken:
        process = started(taken.getsockname()[1])
        assert process.wait(30) == 1
    assert "Port: " in process.log.read_text()


def test_what_no_new_start_would_mend(started):
    process = started(free_port(), MaxAnswers=-1)
    assert process.wait(30) == NOT_CONFIGURED
    assert "MaxAnswers" in process.log.read_text()
