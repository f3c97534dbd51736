"""The connector beside an Orthanc; tests/integration/test_sidecar.py runs its command."""

from __future__ import annotations

import threading

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.connector import sidecar as module
from orthanc_gcp.connector.sidecar import Sidecar
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.keys import user_account
from tests.support.orthanc import DICOMWEB, wait_until


@pytest.fixture
def beside(token_server, monkeypatch):
    """Runs a sidecar of an Orthanc until the test ends."""
    monkeypatch.setattr(module, "CHECK_EVERY", 0.1)
    running = []

    def start(url):
        section = {"RefreshInterval": 1, "Accounts": {"a": user_account(token_server.url)}}
        sidecar = Sidecar(read({"GoogleCloudPlatform": section}), OrthancRest(url))
        thread = threading.Thread(target=sidecar.run)
        running.append((sidecar, thread))
        thread.start()

    yield start
    for sidecar, thread in running:
        sidecar.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_an_orthanc_that_comes_late_and_forgets(orthanc, beside, caplog):
    instance = orthanc({}, start=False, plugins=(DICOMWEB,))
    beside(instance.url)
    wait_until(lambda: "waiting for Orthanc" in caplog.text)
    instance.start()
    instance.wait_for_servers("a")
    wait_until(lambda: "are checked again" in caplog.text)
    instance.request("DELETE", "/dicom-web/servers/a")
    instance.wait_for_servers("a")
    instance.stop()
    instance.start()
    instance.wait_for_servers("a")


def test_something_that_is_no_orthanc(token_server, beside, caplog):
    beside(token_server.url.removesuffix("/token"))
    wait_until(lambda: "waiting for Orthanc" in caplog.text)


def test_an_orthanc_without_the_dicomweb_plugin(orthanc, beside, caplog):
    beside(orthanc({}, plugins=()).url)
    wait_until(lambda: caplog.text.count("the DICOMweb plugin is not installed") > 1)
    assert caplog.text.count("the DICOMweb plugin is not installed") < 4
