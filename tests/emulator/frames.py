"""Files with a few small frames, and what a client asks for them with."""

from __future__ import annotations

import io
from typing import Any

from tests.emulator.client import Client, make_dicom, path_of, read

OCTETS = 'multipart/related; type="application/octet-stream"'
STORED = f"{OCTETS}; transfer-syntax=*"


def put(client: Client, content: bytes) -> str:
    """Store a file; return the path of its frames."""
    assert client.store(content).status == 200
    return f"{path_of(read(content))}/frames"


def image(frames: int, pixels: bytes, bits: int = 8, **attributes: Any) -> bytes:
    """Return a file with images of 3 by 5."""
    return make_dicom(
        pixels,
        Rows=3,
        Columns=5,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelRepresentation=0,
        BitsAllocated=bits,
        BitsStored=bits,
        NumberOfFrames=frames,
        **attributes,
    )


def changed(content: bytes, **attributes: Any) -> bytes:
    dataset = read(content)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()
