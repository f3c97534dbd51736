"""C-FIND and C-MOVE of what Orthanc holds: what is asked of Orthanc for it."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.plugin.local_answers import local_answers, send_local
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


def test_nothing_to_send():
    with stub({**SENT, "POST /tools/find": []}) as server:
        send_local(OrthancRest(server.url), REQUEST, lambda aet: aet.strip().upper())
        assert len(server.requests) == 2
