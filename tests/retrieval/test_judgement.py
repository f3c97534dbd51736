"""Nothing counts as stored that Orthanc does not say to be stored."""

from __future__ import annotations

import pytest

from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import RetrievalReason
from orthanc_gcp.retrieval.judgement import Taken, judge
from tests.support.site import make_instance


@pytest.mark.parametrize(
    ("status", "answer", "taken"),
    [
        (200, {"ID": "a", "Status": "Success"}, Taken.STORED),
        (200, {"ID": "a", "Status": "AlreadyStored"}, Taken.ALREADY),
        (200, {"ID": "a", "Status": "FilteredOut"}, Taken.REFUSED),
        (200, {"ID": "a", "Status": "Failure"}, Taken.FAILED),
        (200, {"ID": "", "Status": "Success"}, Taken.FAILED),
        (200, {"Status": "Success"}, Taken.FAILED),
        (200, [{"ID": "a", "Status": "Success"}], Taken.FAILED),
        (200, None, Taken.FAILED),
        (400, {"OrthancStatus": 15, "Details": "Cannot parse"}, Taken.REFUSED),
        (400, {"OrthancStatus": 14}, Taken.FULL),
        (507, None, Taken.FULL),
        (500, {"OrthancStatus": 19, "Message": "The file storage is full"}, Taken.FULL),
        (500, {"OrthancStatus": "x"}, Taken.FAILED),
        (500, {"OrthancStatus": [19]}, Taken.FAILED),
        (404, None, Taken.FAILED),
    ],
)
def test_an_answer(status, answer, taken):
    found = judge(status, answer)
    assert found.taken is taken
    assert (found.reason is None) == (taken in (Taken.STORED, Taken.ALREADY))
    assert bool(found.orthanc_id) == (found.reason is None)


def test_words_are_one_line():
    found = judge(400, {"OrthancStatus": 15, "Details": "a\x1b[2J\nb"})
    assert found.reason == RetrievalReason.INVALID
    assert found.words.isprintable()


def test_what_a_real_orthanc_says(orthanc):
    running = orthanc({"MaximumPatientCount": 1}, plugins=())
    rest = OrthancRest(running.url)

    def given(content):
        pieces = (content[at : at + 300] for at in range(0, len(content), 300))
        return judge(*rest.upload("/instances", pieces))

    one = make_instance(patient="A", size=16)
    stored = given(one)
    assert (stored.taken, given(one).taken) == (Taken.STORED, Taken.ALREADY)
    assert running.request("GET", f"/instances/{stored.orthanc_id}/file").data == one
    assert given(b"x" * 500).taken is Taken.REFUSED
    (patient,) = running.json("GET", "/patients")
    assert running.request("PUT", f"/patients/{patient}/protected", 1).status == 200
    full = given(make_instance(patient="B", size=16))
    assert (full.taken, full.words) == (Taken.FULL, "Cannot recycle more patients")
