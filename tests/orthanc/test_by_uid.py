"""Real Orthancs, of which one says of what it has no more than its limits allow."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.by_uid import can_be_asked_for, find_by_uid
from orthanc_gcp.orthanc.find import find, find_all
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.emulator.client import make_dicom
from tests.orthanc.orthanc_stub import stub

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


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 6, 7])
def test_all_with_the_same_uid_are_found(orthanc, limit):
    """As instances whose PatientID was corrected: each limit cuts another answer."""
    running = orthanc({"LimitFindResults": limit, "LimitFindInstances": limit}, plugins=())
    for patient in ("a", "b", "c", "d"):
        for uid in UIDS[:2]:
            file = make_dicom(SOPInstanceUID=uid, StudyInstanceUID="1.2", PatientID=patient)
            running.json("POST", "/instances", file)
    rest = OrthancRest(running.url)
    for some in UIDS[:1], UIDS[1:2], UIDS:
        found = find_by_uid(rest, "Instance", "SOPInstanceUID", some)
        names = {one["ID"] for one in found}
        assert len(names) == len(found) == (8 if some is UIDS else 4)
    assert len(find_by_uid(rest, "Study", "StudyInstanceUID", ["1.2"])) == 4
    assert len(OrthancSource(rest, running.folder).find_study("1.2")) == 4
    running.kill()


def test_what_is_not_answered_is_not_taken_for_nothing():
    """As behind a proxy that lets some routes pass only."""
    with stub({}) as server:
        rest = OrthancRest(server.url)
        with pytest.raises(OrthancRefusedError, match="POST /tools/find is not"):
            find_by_uid(rest, "Instance", "SOPInstanceUID", UIDS)
        with pytest.raises(OrthancRefusedError, match="POST /tools/find is not"):
            find(rest, "Instance", {"00080018": "1.2"}, most=10)
        with pytest.raises(OrthancRefusedError, match="404 to POST /tools/lookup"):
            list(find_all(rest, "Instance", {"00080018": "1.2"}))
    with (
        stub({"POST /tools/lookup": [{"ID": "i", "Type": "Instance"}]}) as server,
        pytest.raises(OrthancRefusedError, match="POST /tools/bulk-content is not"),
    ):
        list(find_all(OrthancRest(server.url), "Instance", {"00080018": "1.2"}))


@pytest.mark.parametrize("uid", ["", None, "*", "1.2.?", "1.2\\1.3"])
def test_what_a_query_takes_for_others_cannot_be_asked_for(uid):
    assert not can_be_asked_for(uid)
