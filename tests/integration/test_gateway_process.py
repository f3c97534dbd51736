"""The gateway as a child of a real Orthanc: its life, what it stores, commits and shows."""

from __future__ import annotations

import json
import os
import signal

import psutil
import pydicom
import pytest
import urllib3

from tests.emulator.client import make_dicom
from tests.gateway.commitment.modality import Modality, committed, information
from tests.gateway.scu import run
from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc, free_port, wait_until


@pytest.fixture
def modality():
    one = Modality()
    one.listen()
    yield one
    one.stop()


@pytest.fixture
def site(orthanc, tmp_path, modality):
    """An Orthanc that sends all it receives, with a gateway."""
    emulator = Emulator(tmp_path / "emulator")
    port = free_port()
    section = {
        "BaseUrl": f"{emulator.url}/v1beta1/",
        "Accounts": {
            "google": {
                **STORE,
                "ServiceAccountFile": str(emulator.credentials / "service-account.json"),
            }
        },
        "Send": [{"To": "google"}],
        "Gateway": {"Aets": {"GOOGLE": "google"}, "Port": port},
    }
    modalities = {"m": ["MODALITY", "127.0.0.1", modality.port]}
    running = orthanc({"GoogleCloudPlatform": section, "DicomModalities": modalities})
    running.gateway_port = port
    yield running
    running.stop()
    emulator.stop()


def shown(orthanc: Orthanc):
    answer = orthanc.request("GET", "/gcp/gateway")
    return json.loads(answer.data) if answer.status == 200 else {"State": answer.status}


def wait_for_gateway(orthanc: Orthanc) -> psutil.Process:
    wait_until(lambda: shown(orthanc)["State"] == "Running", 40, lambda: orthanc.log[-4000:])
    (child,) = [
        one
        for one in psutil.Process(orthanc.pid).children(recursive=True)
        if "gateway" in one.cmdline()
    ]
    return child


def test_its_life(site, modality, tmp_path):
    child = wait_for_gateway(site)
    wait_until(lambda: site.request("POST", "/gcp/accounts/google/pause").status == 200, 30)
    file = tmp_path / "one.dcm"
    file.write_bytes(make_dicom())
    uid = pydicom.dcmread(file).SOPInstanceUID
    code, said = run("storescu", site.gateway_port, str(file))
    assert code == 0, said
    assert len(site.json("GET", "/instances")) == 1

    # It is killed while what the modality asks for is on its way, and goes on after that.
    assert modality.ask(site.gateway_port, information("9.1", uid)) == 0

    def waits():
        (oldest,) = shown(site)["StorageCommitment"]["Oldest"]
        return oldest["Detail"] == "instances that are on their way to the store"

    wait_until(waits)
    child.kill()
    wait_until(lambda: "the gateway has ended (signal 9)" in site.log)
    again = wait_for_gateway(site)
    assert again.pid != child.pid
    assert modality.reports == []
    site.request("POST", "/gcp/accounts/google/resume")
    ((kind, report, calling),) = modality.wait_for_reports(within=60)
    assert (kind, committed(report), calling) == (1, [uid], "GOOGLE")

    assert run("echoscu", site.gateway_port)[0] == 0
    metrics = f"{site.url}/tools/metrics-prometheus"
    wanted = b'gcp_gateway_requests_total{service="C-ECHO",status="0000"} 1'
    wait_until(lambda: wanted in urllib3.request("GET", metrics).data, 20)

    # What kills Orthanc ends it, too.
    os.kill(site.pid, signal.SIGKILL)
    wait_until(lambda: not again.is_running() or again.status() == psutil.STATUS_ZOMBIE, 20)
    site.kill()


def test_no_gateway_is_wanted(orthanc):
    running = orthanc({})
    wait_until(lambda: running.request("GET", "/gcp/gateway").status == 404)
