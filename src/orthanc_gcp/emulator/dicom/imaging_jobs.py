"""What the imaging processes are asked for, and how it is written on the way to them.

A message is one line of JSON. The files that a job is about go along as open files.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from orthanc_gcp.emulator.dicom.viewports import Viewport

__all__ = ["MAX_LINE", "FrameConversion", "Job", "Rendering", "Transcoding", "from_line", "to_line"]

MAX_LINE = 16 * 1024
"""Longer messages are not read, in either direction."""


@dataclass(frozen=True)
class Transcoding:
    """An instance in another transfer syntax."""

    transfer_syntax: str


@dataclass(frozen=True)
class FrameConversion:
    """A frame in another transfer syntax, or as PNG (None).

    ``last`` is the greatest number that the client asks for; there has to be such a frame, too.
    """

    number: int
    last: int
    transfer_syntax: str | None


@dataclass(frozen=True)
class Rendering:
    """A frame rendered as ``image/jpeg`` or ``image/png``, in a viewport if there is one."""

    number: int
    last: int
    media_type: str
    viewport: Viewport | None


Job = Transcoding | FrameConversion | Rendering

_KINDS = {kind.__name__: kind for kind in (Transcoding, FrameConversion, Rendering)}


def to_line(job: Job) -> bytes:
    """Return a job as a line of JSON."""
    return json.dumps({"kind": type(job).__name__, **asdict(job)}).encode() + b"\n"


def from_line(line: bytes) -> Job:
    """Return the job of a line that :func:`to_line` made."""
    values: dict[str, Any] = json.loads(line)
    kind = _KINDS[values.pop("kind")]
    if values.get("viewport"):
        values["viewport"] = Viewport(**values["viewport"])
    return kind(**values)
