"""An Orthanc without a rule brings back what is asked for, by a worker that it starts for that."""

from __future__ import annotations

import json

import psutil

from tests.support.orthanc import Orthanc, wait_until
from tests.support.sent import dataset
from tests.support.site import ACCOUNT, Site, make_study

PATH = f"/gcp/accounts/{ACCOUNT}"


def children(orthanc: Orthanc) -> list[psutil.Process]:
    return psutil.Process(orthanc.pid).children(recursive=True)


def retrieve(orthanc, study):
    return orthanc.json("POST", f"{PATH}/retrieve", {"Resources": [{"Study": study}]})


def state(orthanc, number):
    answer = orthanc.request("GET", f"{PATH}/retrievals?id={number}")
    found = json.loads(answer.data)["Retrievals"] if answer.status == 200 else []
    return found[0]["State"] if found else ""


def test_an_orthanc_without_a_rule(orthanc, tmp_path):
    """By the DICOMweb plugin's own body; and what was on its way goes on after a restart."""
    site = Site(tmp_path, rules=())
    configuration = {"GoogleCloudPlatform": site.configuration}
    running = orthanc(configuration, start=True)
    try:
        files = make_study(1, 8, size=600)
        for file in files:
            content = {"Content-Type": "application/dicom"}
            assert site.call("POST", "/dicomWeb/studies", file, **content).status == 200
        study = str(dataset(files[0]).StudyInstanceUID)
        # The connector's start is what is waited for.
        wait_until(lambda: running.request("GET", "/gcp/transfers").data.count(b"or see") == 0)
        assert children(running) == []
        site.emulator.switch(latency=0.3)
        (number,) = retrieve(running, study)["Retrievals"]
        assert len(children(running)) == 1
        assert running.request("GET", "/gcp/transfers").status == 503
        running.kill()
        running.start()
        site.emulator.switch(latency=0)
        # Nobody asks: the ledger has it.
        wait_until(lambda: len(children(running)) == 1, 30, lambda: running.log[-3000:])
        wait_until(lambda: state(running, number) == "complete", 40, lambda: running.log[-3000:])
        found = [
            running.request("GET", f"/instances/{one}/file").data
            for one in running.json("GET", "/instances")
        ]
        assert sorted(found) == sorted(files)
        assert "sends nothing: it retrieves what it is asked to" in running.log
    finally:
        site.emulator.stop()
