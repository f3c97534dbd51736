"""Instances with images that are made for a test, and what a client makes of their renderings."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import urllib3
from PIL import Image

from tests.emulator.client import Client, make_dicom, path_of, read

PNG = "image/png"


JPEG = "image/jpeg"


GRADIENT = np.add.outer(np.arange(0, 4000, 40), np.arange(120)).astype(np.uint16)


def put(client: Client, content: bytes) -> str:
    """Store a file; return the path of the instance."""
    assert client.store(content).status == 200
    return path_of(read(content))


def image(pixels: np.ndarray, **attributes: Any) -> bytes:
    """Return a file with an image, or with several; grayscale of 16 bits unless it is told."""
    frames = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    values = {
        "Rows": frames.shape[1],
        "Columns": frames.shape[2],
        "NumberOfFrames": len(frames),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "BitsAllocated": pixels.dtype.itemsize * 8,
        "BitsStored": pixels.dtype.itemsize * 8,
    }
    return make_dicom(pixels.tobytes(), **{**values, **attributes})


def picture(response: urllib3.BaseHTTPResponse, kind: str = PNG) -> Image.Image:
    assert response.status == 200, response.data
    assert response.headers["content-type"] == kind
    opened = Image.open(io.BytesIO(response.data))
    assert opened.format == kind.removeprefix("image/").upper()
    return opened


def rendered(client: Client, content: bytes, **query: str) -> np.ndarray:
    return np.asarray(picture(client.get(f"{put(client, content)}/rendered", PNG, **query)))
