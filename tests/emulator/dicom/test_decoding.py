"""Decoding: what pydicom decodes, and what writers get wrong that most readers take."""

from __future__ import annotations

import io
import tempfile
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.decoding import DecodableImage, decode
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from tests.emulator.client import Client, read, sample, split
from tests.emulator.dicom.imaging import DECODED, compressed, with_stream, written
from tests.emulator.frames import put
from tests.emulator.images import GRADIENT, image

SEQUENTIAL = "JPEG-lossy.dcm"
"""12 bits, with a spectral selection that ends at 0; ``JPGExtended.dcm`` is the same, mended."""


def decoded(content: bytes, number: int = 1) -> Any:
    """Return what a file of the disk would be decoded to."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return decode(DecodableImage(file), number)


@pytest.mark.parametrize("suffix", DECODED)
def test_every_codec(suffix: str) -> None:
    content, pixels = compressed(suffix)
    raster = decoded(content)
    assert np.array_equal(raster.pixels, pixels)
    assert raster.to_bytes() == pixels.tobytes()
    assert raster.description["samples_per_pixel"] == (3 if pixels.ndim == 3 else 1)


def test_a_scan_that_should_have_had_all_coefficients() -> None:
    mended = read(sample("JPGExtended.dcm")).pixel_array
    assert mended.max() > 255
    assert np.array_equal(decoded(sample(SEQUENTIAL)).pixels, mended)
    assert np.array_equal(decoded(sample("JPGExtended.dcm")).pixels, mended)


def test_scans_of_other_processes_are_left_alone() -> None:
    dataset = read(sample("SC_rgb_jpeg_gdcm.dcm"))  # lossless: their start is the predictor
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.50")
    assert np.array_equal(decoded(written(dataset)).pixels, dataset.pixel_array)


@pytest.mark.parametrize("stream", [b"\xff\xd8", b"\xff\xd8\xff\xda", b"\xff\xd8\xff\xc1\0\0" * 9])
def test_streams_that_are_cut_off(stream: bytes) -> None:
    with pytest.raises(ImagingError, match="frame 1 cannot be decoded"):
        decoded(with_stream(sample(SEQUENTIAL), lambda _: stream))


def without(content: bytes, *keywords: str, **values: Any) -> bytes:
    dataset = read(content)
    for keyword in keywords:
        delattr(dataset, keyword)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "missing",
    [
        ["PixelRepresentation"],
        ["SamplesPerPixel"],
        ["PhotometricInterpretation"],
        ["BitsStored"],
        ["PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "BitsStored"],
    ],
)
def test_attributes_that_are_missing(client: Client, missing: list[str]) -> None:
    path = put(client, without(image(GRADIENT, BitsStored=16), *missing))
    ((_, frame),) = split(client.get(f"{path}/1"))
    assert frame == GRADIENT.tobytes()
    assert client.get(f"{path}/1/rendered").status == 200
    lossless = "1.2.840.10008.1.2.4.90"
    accept = f"application/dicom; transfer-syntax={lossless}"
    got = read(client.get(path.removesuffix("/frames"), accept).data)
    assert np.array_equal(got.pixel_array, GRADIENT)


@pytest.mark.parametrize("missing", ["SamplesPerPixel", "PlanarConfiguration", "BitsAllocated"])
def test_attributes_of_colours_that_are_missing(client: Client, missing: str) -> None:
    content = sample("SC_rgb_rle.dcm")
    path = put(client, without(content, missing))
    ((_, frame),) = split(client.get(f"{path}/1"))
    assert frame == read(content).pixel_array.tobytes()


@pytest.mark.parametrize("missing", ["Rows", "Columns", "BitsAllocated"])
def test_attributes_that_nothing_can_stand_for(client: Client, missing: str) -> None:
    content = without(image(GRADIENT), missing, "BitsStored")
    path = put(client, content)
    for resource in (f"{path}/1", f"{path}/1/rendered"):
        assert client.get(resource).status == 400


def test_a_frame_that_is_too_large() -> None:
    content = without(image(GRADIENT), Rows=60_000, Columns=60_000)
    with pytest.raises(ImagingError, match="the frame is too large to be decoded"):
        decoded(content)


def test_single_bits_in_a_codec() -> None:
    dataset = read(sample("SC_rgb_rle_2frame.dcm"))
    dataset.BitsAllocated = 1
    with pytest.raises(ImagingError, match=r"^BitsAllocated non-divisible by 8$"):
        decoded(written(dataset))


def test_one_frame_of_many(client: Client) -> None:
    content = sample("SC_rgb_rle_2frame.dcm")
    second = list(generate_frames(read(content).PixelData, number_of_frames=2))[1]
    alone = with_stream(content, lambda _: second)
    assert np.array_equal(decoded(content, 2).pixels, decoded(alone).pixels)
