"""What Orthanc sends by a job, as far as it says what became of it."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.orthanc.modalities import store_at
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.orthanc.orthanc_stub import stub


@pytest.mark.parametrize(
    ("made", "jobs", "is_sent"),
    [
        ({"ID": "j"}, [{"State": "Pending"}, {"State": "Running"}, {"State": "Success"}], True),
        ({"ID": "j"}, [{"State": "Running"}, {"State": "Failure"}], False),
        ({"ID": "j"}, [404], False),
        ({"ID": "j"}, [[]], False),
        ([], [], False),
    ],
)
def test_a_job(made, jobs, is_sent):
    left = list(jobs)
    answers = {
        "POST /modalities/a%20b/store": made,
        "GET /jobs/j": lambda _: left.pop(0),
        "POST /jobs/j/cancel": {},
    }
    with stub(answers) as server:
        rest = OrthancRest(server.url)
        if is_sent:
            store_at(rest, "a b", ["i"], ("AET", 7), 20)
        else:
            with pytest.raises(OrthancRefusedError):
                store_at(rest, "a b", ["i"], ("AET", 7), 20)
        (_, body, _), *_ = server.requests
    assert body["Resources"] == ["i"]
    assert (body["MoveOriginatorAet"], body["MoveOriginatorID"]) == ("AET", 7)
    assert not left


def test_one_that_does_not_end():
    answers = {"POST /modalities/m/store": {"ID": "j"}, "GET /jobs/j": {"State": "Pending"}}
    answers["POST /jobs/j/cancel"] = {}
    with stub(answers) as server, pytest.raises(OrthancRefusedError):
        store_at(OrthancRest(server.url), "m", ["i"], ("AET", 7), 0.05)
    assert server.requests[-1][0] == "POST /jobs/j/cancel"
