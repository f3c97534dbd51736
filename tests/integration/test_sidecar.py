"""The connector beside an Orthanc without the Python plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.integration.conftest import SERVER, query, to_store
from tests.support.orthanc import DICOMWEB, PYTHON, wait_until

USER, PASSWORD = "gcp", "p@ss:word"


class SidecarProcess:
    """``orthanc-gcp sidecar`` with its log."""

    def __init__(self, folder, configuration, url) -> None:
        file = folder / "sidecar.json"
        file.write_text("// read as Orthanc reads it\n" + json.dumps(configuration))
        self.log_file = folder / "sidecar.log"
        with self.log_file.open("wb") as log:
            command = [sys.executable, "-m", "orthanc_gcp", "sidecar", str(file), "--orthanc", url]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self.log_file.read_text()


@pytest.fixture
def sidecar(tmp_path):
    started = []

    def start(configuration, url):
        started.append(SidecarProcess(tmp_path, configuration, url))
        return started[-1]

    yield start
    for each in started:
        each.process.terminate()
        assert each.process.wait(10) == 0, each.log


def test_an_orthanc_that_comes_goes_and_comes_back(orthanc, emulator, sample_accounts, sidecar):
    configuration = to_store(sample_accounts["service account"], emulator)
    instance = orthanc(
        {
            "HttpsCACertificates": str(emulator.ca),
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
        },
        start=False,
        plugins=(DICOMWEB,),
    )
    instance.authenticate(USER, PASSWORD)
    beside = sidecar(configuration, f"http://{USER}:p%40ss%3Aword@127.0.0.1:{instance.port}/")
    wait_until(lambda: "waiting for Orthanc" in beside.log)
    for end in (instance.stop, instance.kill, instance.stop):
        instance.start()
        instance.wait_for_servers("my-google", wait=30)
        query(instance)
        instance.json("DELETE", SERVER)
        instance.wait_for_servers("my-google")
        end()
    time.sleep(1)
    assert beside.process.poll() is None
    assert "ya29" not in beside.log
    assert "p@ss" not in beside.log


def test_an_outage_of_orthanc_is_told_once(orthanc, emulator, sample_accounts, sidecar):
    """Though two loops meet it: the one that waits for Orthanc, and the one that looks after it."""
    section = {"RefreshInterval": 1}
    account = sample_accounts["service account"]
    configuration = to_store(account, emulator, section=section)
    instance = orthanc({"HttpsCACertificates": str(emulator.ca)}, plugins=(DICOMWEB,))
    beside = sidecar(configuration, instance.url)
    instance.wait_for_servers("my-google")
    instance.stop()
    time.sleep(5)
    instance.start()
    instance.wait_for_servers("my-google")
    wait_until(lambda: "are checked again after" in beside.log, 20, lambda: beside.log)
    assert beside.log.count("waiting for Orthanc") == 1, beside.log
    assert beside.log.count("DICOMweb servers") == 2, beside.log


def test_a_wrong_password_is_named(orthanc, emulator, sample_accounts, sidecar):
    instance = orthanc(
        {"AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}},
        start=False,
        plugins=(DICOMWEB,),
    )
    instance.authenticate(USER, PASSWORD)
    instance.start()
    beside = sidecar(to_store(sample_accounts["service account"], emulator), instance.url)
    wait_until(lambda: "wants a user and password" in beside.log)


def test_something_that_is_no_orthanc(emulator, sample_accounts, sidecar):
    configuration = to_store(sample_accounts["service account"], emulator)
    beside = sidecar(configuration, emulator.url)
    wait_until(lambda: "is not an Orthanc" in beside.log)


def test_an_orthanc_without_the_dicomweb_plugin(orthanc, emulator, sample_accounts, sidecar):
    """It is told now and then, not twenty times a second."""
    instance = orthanc({}, plugins=(PYTHON,), python_script="")
    beside = sidecar(to_store(sample_accounts["service account"], emulator), instance.url)
    wait_until(lambda: "the DICOMweb plugin is not installed" in beside.log)
    time.sleep(2)
    assert beside.log.count("the DICOMweb plugin is not installed") == 1
