"""What plugin and worker write to each other, and what neither takes for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orthanc_gcp.worker.handshake import WorkerAddress, WorkerInput

GIVEN = WorkerInput(
    configuration={"Name": "übung\n", "GoogleCloudPlatform": {"Database": "hush-1"}},
    folder=Path("/etc/orthanc"),
    orthanc="http://127.0.0.1:8042/",
    fingerprint="ab" * 32,
    authorization="Bearer hush-2",
    name="host:8042",
    since=12.5,
    secret="hush-3",
)


def test_what_is_written_is_read_again():
    line = GIVEN.line()
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert WorkerInput.of_line(line) == GIVEN
    for place in (Path("/a b"), 40000):
        assert WorkerAddress.of_line(WorkerAddress(place).line()) == WorkerAddress(place)


def test_no_secret_is_shown():
    assert "hush" not in repr(GIVEN)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\n", b"hush", b"[]", b"\xff\n", b"{}", b'{"Socket": 7}', b'{"Socket": ""}'),
        *(
            b'{"Port": 0}',
            b'{"Port": "80"}',
            b'{"Port": true}',
            b'{"Port": 65536}',
            b'{"Port": -1}',
        ),
    ],
)
def test_what_is_nothing_of_the_kind(line):
    for kind in (WorkerInput, WorkerAddress):
        with pytest.raises(ValueError, match=r"it lacks|it is no JSON object") as caught:
            kind.of_line(line)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", json.loads(GIVEN.line()))
def test_another_version_may_lack_something(name):
    document = json.loads(GIVEN.line())
    del document[name]
    with pytest.raises(ValueError, match=f"it lacks '{name}'"):
        WorkerInput.of_line(json.dumps(document).encode())
