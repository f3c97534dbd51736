"""Nothing counts as stored that Orthanc does not say to be stored."""

from __future__ import annotations

import pytest

from orthanc_gcp.reasons import RetrievalReason
from orthanc_gcp.retrieval.judgement import Taken, judge


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
        (400, {"OrthancStatus": 11}, Taken.FULL),
        (507, None, Taken.FULL),
        (500, {"OrthancStatus": 11, "Message": "The file storage is full"}, Taken.FULL),
        (500, {"OrthancStatus": "x"}, Taken.FAILED),
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
