"""Compression of frames, decoded with something else where possible."""

from __future__ import annotations

import copy
import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.compression import CompressionError, compress, describe
from orthanc_gcp.emulator.dicom.decoding import Raster
from orthanc_gcp.emulator.dicom.transfer_syntaxes import DEFLATED_FRAMES, JPEG, JPEG_2000, RLE
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
    assert (response.status, response.data) == (400, b"BitsAllocated non-divisible by 8")


def test_colours_beyond_8_bits_do_not_become_jpeg(client: Client) -> None:
    path = put(client, sample("SC_rgb_rle_16bit.dcm"))
    response = client.get(f"{path}/1", 'multipart/related; type="image/jpeg"')
    assert (response.status, response.data[:16]) == (400, b"baseline JPEG is")


def raster(pixels: np.ndarray, kind: str, **more: Any) -> Raster:
    bits = pixels.dtype.itemsize * 8
    description = {
        "bits_allocated": bits,
        "bits_stored": bits,
        "photometric_interpretation": kind,
        "pixel_representation": int(pixels.dtype.kind == "i"),
        "samples_per_pixel": 3 if pixels.ndim == 3 else 1,
    }
    return Raster(pixels, {**description, **more})


GRAY = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
COLOURS = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "syntax", "reason"),
    [
        (raster(GRAY.astype(np.float32), "MONOCHROME2"), RLE, "floating point"),
        (raster(GRAY.astype(np.uint8), "PALETTE COLOR"), JPEG, "indices of a palette"),
        (raster(GRAY.astype(np.uint8), "PALETTE COLOR"), JPEG_2000, "indices of a palette"),
        (raster(GRAY, "MONOCHROME2"), JPEG, "samples of 8 bits"),
        (raster(GRAY.astype(np.int8), "MONOCHROME2"), JPEG, "without a sign"),
        (raster(GRAY.astype(np.uint32), "MONOCHROME2"), JPEG_2000, "more than 16 bits"),
        (raster(GRAY[:2, :2], "MONOCHROME2", bits_stored=99), RLE, "Bits Stored"),
    ],
)
def test_pixels_that_a_transfer_syntax_does_not_provide_for(
    image: Raster, syntax: str, reason: str
) -> None:
    with pytest.raises(CompressionError, match=reason):
        compress(image, syntax)


@pytest.mark.parametrize(
    ("syntax", "planar", "kind", "method"),
    [
        (JPEG, 0, "YBR_FULL_422", "ISO_10918_1"),
        (JPEG_2000, 0, "RGB", "ISO_15444_1"),
        (RLE, 1, "RGB", None),
        (DEFLATED_FRAMES, 0, "RGB", None),
    ],
)
def test_attributes_describe_what_was_made(
    syntax: str, planar: int, kind: str, method: str | None
) -> None:
    dataset = Dataset()
    dataset.ExtendedOffsetTable = b"12345678"
    describe(dataset, raster(COLOURS, "RGB"), syntax)
    assert "ExtendedOffsetTable" not in dataset
    assert (dataset.BitsAllocated, dataset.SamplesPerPixel) == (8, 3)
    assert (dataset.PlanarConfiguration, dataset.PhotometricInterpretation) == (planar, kind)
    assert dataset.get("LossyImageCompression") == ("01" if method else None)
    assert dataset.get("LossyImageCompressionMethod") == method


def test_grayscale_has_no_planes() -> None:
    dataset = Dataset()
    describe(dataset, raster(GRAY, "MONOCHROME2"), RLE)
    assert "PlanarConfiguration" not in dataset
    assert dataset.PhotometricInterpretation == "MONOCHROME2"
