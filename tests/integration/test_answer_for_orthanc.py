"""Orthanc's own DICOM server answers from Orthanc and from a store, as if it held all."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import contextmanager

import psutil
import pydicom
import pytest
import urllib3

from tests.emulator.client import make_dicom
from tests.gateway import scu
from tests.retrieval.test_worklist import entry
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.keys import STORE
from tests.support.orthanc import free_port, wait_until

PATIENT = {"PatientID": "4711", "PatientName": "Müller^Änne"}


def instance(study, number, **more):
    series = f"1.2.{study}.1"
    values = {
        **PATIENT,
        "SpecificCharacterSet": "ISO_IR 100",
        "StudyInstanceUID": f"1.2.{study}",
        "SeriesInstanceUID": series,
        "SOPInstanceUID": f"{series}.{number}",
    }
    return make_dicom(**{**values, **more})


LOCAL = [instance(1, 1), instance(3, 1)]
CLOUD = [instance(2, 1), instance(2, 2), instance(3, 1, Modality="CT"), instance(3, 2)]
OTHERS = [
    instance(5, 1, PatientID="4712", PatientName="Huber^Eva"),
    instance(6, 1, PatientID="4714", PatientName="Huber^Ida"),
]


@contextmanager
def running_site(orthanc, tmp_path, prefetch=(), **more):
    """Study 1 is in Orthanc, study 2 in the store, study 3 half in both; 5 and 6 are of others."""
    emulator = Emulator(tmp_path / "emulator", "--admin")
    for file in (*CLOUD, *OTHERS):
        answer = urllib3.request(
            "POST",
            f"{emulator.url}/v1/{STORE_PATH}/dicomWeb/studies",
            body=file,
            headers={**emulator.bearer(), "Content-Type": "application/dicom"},
        )
        assert answer.status == 200, answer.data
    key = str(emulator.credentials / "service-account.json")
    section = {
        "BaseUrl": f"{emulator.url}/v1beta1/",
        "Accounts": {"google": {**STORE, "ServiceAccountFile": key}},
        "Gateway": {
            "Aets": {"GOOGLE": "google"},
            "Port": free_port(),
            "AnswerForOrthanc": True,
            **more,
        },
        "Prefetch": list(prefetch),
    }
    dicom, destination = free_port(), free_port()
    worklist = tmp_path / "worklist"
    worklist.mkdir()
    (worklist / "expected.wl").write_bytes(entry("4714"))
    running = orthanc(
        {
            "GoogleCloudPlatform": section,
            "DicomServerEnabled": True,
            "DicomPort": dicom,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "Worklists": {"Database": str(worklist)},
            "DicomModalities": {"dest": ["DEST", "127.0.0.1", destination]},
        }
    )
    running.dicom_port, running.emulator = dicom, emulator
    for file in LOCAL:
        assert running.request("POST", "/instances", file).status == 200
    received = tmp_path / "received"
    received.mkdir()
    storescp = subprocess.Popen(
        ["storescp", "-aet", "DEST", "-od", str(received), str(destination)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    running.received = received
    try:
        yield running
    finally:
        storescp.kill()
        storescp.wait()
        running.kill()  # its DICOM server takes seconds to stop
        emulator.stop()


@pytest.fixture
def site(orthanc, tmp_path):
    rules = [{"Account": "google", "On": [one]} for one in ("Query", "Worklist")]
    with running_site(orthanc, tmp_path, rules) as running:
        yield running


def dcmtk(site, program, *arguments, keys):
    command = [program, "-d", "-to", "20", "-aet", "WORKSTATION", "-aec", "ORTHANC", "127.0.0.1"]
    command += [str(site.dicom_port), *(one for key in keys for one in ("-k", key))]
    done = subprocess.run([*command, *arguments], capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode("latin-1")


def find(site, *keys, level="STUDY"):
    """Study Instance UID -> the answer as DCMTK shows it."""
    wanted = (f"QueryRetrieveLevel={level}", "StudyInstanceUID", *keys)
    said = dcmtk(site, "findscu", "-S", keys=wanted)
    assert "Find Response" in said or "(Success)" in said, said
    answers = said.split("Find Response")[1:]
    found = [re.search(r"\(0020,000d\) UI \[([\d.]+)", one) for one in answers]
    return {one[1]: text for one, text in zip(found, answers, strict=True) if one}


def gateway(site):
    answer = site.request("GET", "/gcp/gateway")
    return json.loads(answer.data) if answer.status == 200 else {"State": answer.status}


def test_its_dicom_server_has_both(site):
    wait_until(lambda: gateway(site)["State"] == "Running", 40, lambda: site.log[-4000:])
    found = find(
        site, "PatientName=m*", "PatientID", "NumberOfStudyRelatedInstances", "ModalitiesInStudy"
    )
    assert sorted(found) == ["1.2.1", "1.2.2", "1.2.3"], site.log[-4000:]
    assert all("[Müller^Änne " in one and "[ORTHANC" in one for one in found.values())
    counts = [re.search(r"\(0020,1208\) IS \[(\d)", found[one])[1] for one in sorted(found)]
    assert counts == ["1", "2", "2"]
    assert find(site, "PatientID=4713") == {}
    assert sorted(find(site, "PatientID=4712")) == ["1.2.5"]

    keys = ("QueryRetrieveLevel=PATIENT", "PatientID=4711")
    said = dcmtk(site, "movescu", "-P", "-aem", "DEST", keys=keys)
    assert "0x0000: Success" in said, said + site.log[-4000:]
    received = [pydicom.dcmread(one) for one in site.received.iterdir()]
    uids = sorted(one.SOPInstanceUID for one in received)
    assert uids == ["1.2.1.1.1", "1.2.2.1.1", "1.2.2.1.2", "1.2.3.1.1", "1.2.3.1.2"]
    assert [one.get("Modality") for one in received if one.SOPInstanceUID == "1.2.3.1.1"] != ["CT"]

    # Who is searched for, or stands in the worklist, has what the store has brought into Orthanc.
    def are_fetched():
        query = {"Level": "Study", "Query": {"StudyInstanceUID": "1.2.5\\1.2.6"}}
        return find(site, "PatientID=4712") and len(site.json("POST", "/tools/find", query)) == 2

    wait_until(are_fetched, 60, lambda: site.log[-4000:])
    assert len(site.json("GET", "/studies")) == 4

    # Where the store or the gateway is away, there is what Orthanc holds.
    site.emulator.stop()
    assert sorted(find(site)) == ["1.2.1", "1.2.3", "1.2.5", "1.2.6"]
    site.wait_for_log("only of what Orthanc holds")
    (child,) = [
        one
        for one in psutil.Process(site.pid).children(recursive=True)
        if "gateway" in one.cmdline()
    ]
    child.kill()
    assert sorted(find(site, "PatientName=m*")) == ["1.2.1", "1.2.3"]
    for one in site.received.iterdir():
        one.unlink()
    keys = ("QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3")
    said = dcmtk(site, "movescu", "-S", "-aem", "DEST", keys=keys)
    assert "0xb000: Warning" in said, said
    assert len(list(site.received.iterdir())) == 1, said + site.log[-4000:]


def test_a_find_that_is_cut_says_so(orthanc, tmp_path):
    """As Orthanc itself does at its own limits: with the status of what was cancelled."""
    with running_site(orthanc, tmp_path, MaxAnswers=2) as running:
        wait_until(lambda: gateway(running)["State"] == "Running", 40, lambda: running.log[-4000:])
        for uid, number, status in (("1.2.1\\1.2.2", 2, 0x0000), ("", 2, 0xFE00)):
            query = scu.keys("STUDY", StudyInstanceUID=uid)
            found, last = scu.find(running.dicom_port, query, called="ORTHANC")
            assert (len(found), last.Status) == (number, status)
