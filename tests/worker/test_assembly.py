"""A worker of parts that are whole; nothing is asked, and nothing written, before it runs."""

from __future__ import annotations

import json
import socket
import urllib.request

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.worker.assembly import assemble
from tests.support.keys import STORE
from tests.support.orthanc import free_port, wait_until
from tests.worker.test_worker import Run

ORTHANC = "http://127.0.0.1:1"


def read(folder, **section):
    account = {**STORE, "ServiceAccountFile": "missing.json"}
    whole = {"Accounts": {"google": account}, "Send": [{"To": "google"}], **section}
    return configuration.read({"GoogleCloudPlatform": whole}, folder)


def test_nothing_happens_before_it_runs(tmp_path):
    database = f"sqlite:///{tmp_path}/ledger.sqlite"
    assemble(read(tmp_path, Database=database), OrthancRest(ORTHANC), "w")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_meant_keeps_it_from_starting(tmp_path):
    settings = read(tmp_path, Database="mysql://me:hush@host/db")
    with pytest.raises(ConfigurationError) as refused:
        assemble(settings, OrthancRest(ORTHANC), "w")
    assert "hush" not in str(refused.value)


def test_its_parts_know_of_each_other(tmp_path):
    """What the API is asked goes through the ledger that the worker has made."""
    run = Run(tmp_path, google={**STORE, "ServiceAccountFile": "missing.json"})
    port = free_port()
    run.worker.listen("secret", socket.create_server(("127.0.0.1", port)))

    def ask(path):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", headers={"Authorization": "Bearer secret"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def answers():
        try:
            return [one["Account"] for one in json.loads(ask("/gcp/transfers"))] == ["google"]
        except OSError:
            return False

    with run:
        wait_until(answers, 20)
        assert b'account="google"' in ask("/metrics")
