"""A tiny instance through a store, and what is said of one that stays there."""

from __future__ import annotations

import re
from io import BytesIO

import pydicom
import pytest

from orthanc_gcp.doctor.healthcare_api import Store
from orthanc_gcp.doctor.round_trip import instance, round_trip
from orthanc_gcp.errors import StoreError
from orthanc_gcp.transport.authorization import Authorization
from tests.support.checking import check
from tests.support.emulator import STORE_PATH
from tests.support.raw_server import answer, says


def test_the_round_trip_leaves_nothing(case):
    code, report = check(case, "--write")
    assert code == 0, report
    last = report["Accounts"]["my-google"][-1]
    assert last["Result"] == "passed"
    assert "sent, found, fetched (the same bytes) and deleted" in last["Cause"]
    _, report = check(case)
    search = next(e for e in report["Accounts"]["my-google"] if e["Check"] == "search")
    assert search["Cause"] == "the store is empty"


def test_what_the_round_trip_leaves_is_named(case):
    rule = {"method": "DELETE", "status": 503}
    case.google.switch(faults=[rule])
    code, report = check(case, "--write")
    last = report["Accounts"]["my-google"][-1]
    assert (code, last["Check"], last["Result"]) == (1, "round trip", "failed")
    found = re.search(r"the tiny instance of study (2\.25\.\d+) may still be there", last["Cause"])
    assert found
    case.google.switch(faults=[])
    case.google.call("DELETE", f"{STORE_PATH}/dicomWeb/studies/{found[1]}")


def test_an_upload_that_is_not_stored_is_no_round_trip(case, lying_store):
    code, report = check(case, "--write")
    last = report["Accounts"]["my-google"][-1]
    assert (code, last["Check"], last["Result"]) == (1, "round trip", "failed")
    assert "a search does not find it" in last["Cause"]
    assert "see what changes requests or answers on the way" in last["Remedy"]


def test_the_instance_is_dicom():
    file = pydicom.dcmread(BytesIO(instance("2.25.1", "2.25.22", "2.25.333")))
    assert file.StudyInstanceUID == "2.25.1"
    assert file.SeriesInstanceUID == "2.25.22"
    assert file.SOPInstanceUID == file.file_meta.MediaStorageSOPInstanceUID == "2.25.333"
    assert file.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    assert file.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert file.PatientID == "orthanc-gcp"
    assert "PixelData" not in file


def test_a_store_that_refuses_what_is_sent(examination, serve):
    refused = answer(b"{}", "503 Service Unavailable", Connection="close")
    server = serve(says(refused))
    found = examination(section={"BaseUrl": f"http://127.0.0.1:{server.port}/v1"})
    store = Store(found.account, found.settings, found.transport, Authorization("ya29.x"))
    with pytest.raises(StoreError, match="503"):
        round_trip(store)
    assert [head.split()[0] for head in server.heads] == [b"POST"], "nothing was taken"


def test_the_whole_way(case, google, examination):
    found = examination(section={"BaseUrl": f"{google.url}/v1"})
    token = google.bearer()["Authorization"].partition(" ")[2]
    store = Store(found.account, found.settings, found.transport, Authorization(token))
    assert round_trip(store).endswith("fetched (the same bytes) and deleted")
    assert store.parsed(store.request("/dicomWeb/studies")) in (None, [])
