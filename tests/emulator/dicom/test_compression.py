"""Compression of frames, decoded with something else where possible."""

from __future__ import annotations

import copy
import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from tests.emulator.client import Client, path_of, read, sample, split


def put(client: Client, content: bytes) -> str:
    """Store a file; return the path of its frames."""
    assert client.store(content).status == 200
    return f"{path_of(read(content))}/frames"


@pytest.mark.parametrize(
    ("suffix", "media_type", "tolerance"),
    [
        ("4.50", "image/jpeg", 15),
        ("4.90", "image/jp2", 0),
        ("4.91", "image/jp2", 8),
        ("5", "image/dicom-rle", 0),
        ("8.1", "application/x-deflate", 0),
    ],
)
def test_frames_that_are_compressed_on_demand(
    client: Client, suffix: str, media_type: str, tolerance: int
) -> None:
    syntax = f"1.2.840.10008.1.2.{suffix}"
    accept = f'multipart/related; type="{media_type}"; transfer-syntax={syntax}'
    dataset = read(sample("examples_ybr_color.dcm"))
    dataset.decompress(generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    response = client.get(f"{put(client, buffer.getvalue())}/3,1", accept)
    parts = split(response)
    assert [label for label, _ in parts] == [f"{media_type}; transfer-syntax={syntax}"] * 2
    for number, (_, frame) in zip((3, 1), parts, strict=True):
        error = decoded(frame, suffix, dataset) - dataset.pixel_array[number - 1].astype(int)
        assert np.abs(error).mean() <= tolerance / 4
        assert np.abs(error).max() <= tolerance * 8


def decoded(frame: bytes, suffix: str, dataset: Any) -> np.ndarray:
    """Decode a frame with something other than what the emulator decodes with, where possible."""
    if suffix.startswith("4."):
        return np.asarray(Image.open(io.BytesIO(frame))).astype(int)
    shape = (dataset.Rows, dataset.Columns, 3)
    if suffix == "8.1":
        return np.frombuffer(zlib.decompress(frame, -15), np.uint8).reshape(shape).astype(int)
    dataset = copy.deepcopy(dataset)
    dataset.PixelData, dataset.NumberOfFrames = encapsulate([frame]), 1
    dataset.file_meta.TransferSyntaxUID = UID(f"1.2.840.10008.1.2.{suffix}")
    dataset["PixelData"].is_undefined_length = True
    return pixel_array(dataset).astype(int)


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/jp2", "application/x-deflate"])
def test_single_bits_are_not_compressed(client: Client, media_type: str) -> None:
    path = put(client, sample("liver_1frame.dcm"))
    response = client.get(f"{path}/1", f'multipart/related; type="{media_type}"')
    assert (response.status, response.data[:19]) == (400, b"neither single bits")


def test_colours_beyond_8_bits_do_not_become_jpeg(client: Client) -> None:
    path = put(client, sample("SC_rgb_rle_16bit.dcm"))
    response = client.get(f"{path}/1", 'multipart/related; type="image/jpeg"')
    assert (response.status, response.data[:16]) == (400, b"baseline JPEG is")
