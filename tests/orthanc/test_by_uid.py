"""Real Orthancs, of which one says of what it has no more than its limits allow."""

from __future__ import annotations

import pytest

from orthanc_gcp.orthanc.by_uid import can_be_asked_for, find_by_uid
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.emulator.client import make_dicom

UIDS = [f"1.2.3.{number}" for number in range(5)]


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_all_are_found_whatever_orthanc_limits(orthanc, limit):
    running = orthanc({"LimitFindInstances": limit}, plugins=())
    for uid in UIDS:
        running.json("POST", "/instances", make_dicom(SOPInstanceUID=uid))
    found = find_by_uid(OrthancRest(running.url), "Instance", "SOPInstanceUID", ["9.9", *UIDS])
    assert sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in found) == UIDS
    assert all(one["FileUuid"] for one in found)
    running.kill()


@pytest.mark.parametrize("uid", ["", None, "*", "1.2.?", "1.2\\1.3"])
def test_what_a_query_takes_for_others_cannot_be_asked_for(uid):
    assert not can_be_asked_for(uid)
