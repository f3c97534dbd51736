"""Jobs of the imaging processes, on their way as lines."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.emulator.dicom.imaging_jobs import (
    MAX_LINE,
    FrameConversion,
    Job,
    Rendering,
    Transcoding,
    from_line,
    to_line,
)
from orthanc_gcp.emulator.dicom.viewports import Viewport


@pytest.mark.parametrize(
    "job",
    [
        Transcoding("1.2.840.10008.1.2.5"),
        FrameConversion(3, 12, "1.2.840.10008.1.2.1"),
        FrameConversion(1, 1, None),
        Rendering(1, 2, "image/jpeg", None),
        Rendering(1, 2, "image/png", Viewport.parse("9999,9999,-0.5,123456789.123456789,-4,")),
    ],
)
def test_what_is_written_is_read_again(job: Job) -> None:
    line = to_line(job)
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert len(line) < MAX_LINE
    assert from_line(line) == job


def test_it_is_json() -> None:
    values = json.loads(to_line(Transcoding("1.2")))
    assert values == {"kind": "Transcoding", "transfer_syntax": "1.2"}


@pytest.mark.parametrize("line", [b"{}\n", b'{"kind": "Other"}\n', b'{"kind": "Transcoding"}\n'])
def test_what_is_no_job(line: bytes) -> None:
    with pytest.raises((KeyError, TypeError)):
        from_line(line)
