"""C-FIND and C-MOVE of what Orthanc holds: what is asked of Orthanc for it."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.find import FindLimits
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.plugin.local_answers import local_answers, send_local
from tests.emulator.client import make_dicom
from tests.gateway.retrieve.scp import EXPLICIT, SECONDARY, receiving
from tests.orthanc.orthanc_stub import stub
from tests.plugin.test_dicom_callbacks import REQUEST, SENT, Module


def test_what_a_find_asks():
    query = {
        "00080052": "IMAGE ",
        "00100020": "P1",
        "00100010": "*",
        "00201208": "3",
        "00080005": "ISO_IR 100",
        "00080056": "ONLINE",
        "7FE00010": "",
        "00091010": "x",
        "00080000": "4",
    }
    with stub({"POST /tools/find": []}) as server:
        rest = OrthancRest(server.url)
        assert list(local_answers(rest, Module(), query, "O")) == []
        ((_, body, _),) = server.requests
        with pytest.raises(OrthancRefusedError):
            list(local_answers(rest, Module(), {**query, "00080052": "WARD"}, "O"))
    assert (body["Level"], body["Query"]) == ("Instance", {"0010,0020": "P1"})
    assert body["RequestedTags"] == ["0010,0020", "0010,0010", "0020,1208"]


@pytest.mark.parametrize(
    "more", [{"TargetAET": "OTHER"}, {"StudyInstanceUID": ""}, {"StudyInstanceUID": "1.*"}]
)
def test_what_is_not_sent(more):
    with stub(SENT) as server:
        with pytest.raises(OrthancRefusedError):
            send_local(
                OrthancRest(server.url), {**REQUEST, **more}, lambda aet: aet.strip().upper()
            )
        assert not [one for one in server.requests if one[0].startswith("POST")]


def test_more_than_orthanc_finds(orthanc):
    """Its limits cut what is found: nobody knows what else is meant, and nothing is sent."""
    with receiving({SECONDARY: [EXPLICIT]}) as received:
        modality = {"d": ["DEST", "127.0.0.1", received.port]}
        limits = {"LimitFindResults": 2, "LimitFindInstances": 2}
        running = orthanc({"DicomModalities": modality, **limits}, plugins=())
        rest, known = OrthancRest(running.url), FindLimits(2, 2)
        request = {**REQUEST, "StudyInstanceUID": "", "AccessionNumber": "A"}
        for number in range(1, 5):
            uids = {"StudyInstanceUID": f"1.{number}", "SOPInstanceUID": f"1.{number}.1"}
            running.json("POST", "/instances", make_dicom(**uids, AccessionNumber="A"))
            if number == 2:
                send_local(rest, request, str.strip, known)
        with pytest.raises(OrthancRefusedError, match="LimitFindResults"):
            send_local(rest, request, str.strip, known)
        running.kill()
    assert sorted(received.requests) == ["1.1.1", "1.2.1"]


def test_nothing_to_send():
    with stub({**SENT, "POST /tools/lookup": []}) as server:
        send_local(OrthancRest(server.url), REQUEST, lambda aet: aet.strip().upper())
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "keys",
    [{"StudyInstanceUID": "1.2"}, {"PatientID": "p", "Level": "PATIENT"}],
)
def test_all_is_sent_however_little_orthanc_finds_at_once(orthanc, keys):
    """A real Orthanc; its limits are about queries, not about retrievals."""
    with receiving({SECONDARY: [EXPLICIT]}) as received:
        modality = {"d": ["DEST", "127.0.0.1", received.port]}
        limits = {"LimitFindResults": 1, "LimitFindInstances": 1}
        running = orthanc({"DicomModalities": modality, **limits}, plugins=())
        for number in range(6):
            uids = {"StudyInstanceUID": "1.2", "SOPInstanceUID": f"1.2.{number}"}
            file = make_dicom(**uids, PatientID="p", AccessionNumber="A")
            running.json("POST", "/instances", file)
        other = {"PatientID": "P", "AccessionNumber": "a", "StudyInstanceUID": "1.3"}
        running.json("POST", "/instances", make_dicom(**other))
        request = {**REQUEST, "StudyInstanceUID": "", **keys}
        send_local(OrthancRest(running.url), request, str.strip)
        running.kill()
    assert sorted(received.requests) == [f"1.2.{number}" for number in range(6)]
