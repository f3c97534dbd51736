"""Rendering: grayscale, windows and colours, compared with pydicom's own processing."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

from tests.emulator.client import Client, read, sample, split
from tests.emulator.images import GRADIENT, PNG, image, picture, put, rendered

PNG_PART = 'multipart/related; type="image/png"'


def window(values: Any, center: float, width: float) -> np.ndarray:
    """Apply the linear function of PS3.3 C.11.2.1.2.1, to the range from 0 to 255."""
    share = (np.asarray(values, float) - (center - 0.5)) / (width - 1) + 0.5
    return np.clip(share, 0, 1) * 255


def lut(values: list[int], first: int, bits: int) -> Dataset:
    table = Dataset()
    table.LUTDescriptor = [len(values), first, bits]
    table.add_new(0x00283006, "US", values)
    return table


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    """Check grayscale; rounding may be either way."""
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"WindowCenter": 2000, "WindowWidth": 1000}, window(GRADIENT, 2000, 1000)),
        ({"WindowCenter": [500, 9], "WindowWidth": [200, 9]}, window(GRADIENT, 500, 200)),
        (
            {"WindowCenter": 0, "WindowWidth": 400, "RescaleSlope": 2, "RescaleIntercept": -1024},
            window(GRADIENT * 2.0 - 1024, 0, 400),
        ),
        (
            {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 90, "WindowWidth": 100},
            255 - window(GRADIENT, 90, 100),
        ),
        (
            {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
            255 / (1 + np.exp(-4 * (GRADIENT - 2000.0) / 1000)),
        ),
        (
            {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
            np.clip((GRADIENT - 2000.0) / 1000 + 0.5, 0, 1) * 255,
        ),
        ({}, GRADIENT / GRADIENT.max() * 255),
        ({"BitsStored": 12, "WindowWidth": None}, GRADIENT / GRADIENT.max() * 255),
        (
            {"VOILUTSequence": [lut([0, 1023, 4095], 1000, 12)]},
            np.array([0, 1023, 4095])[np.clip(GRADIENT.astype(int) - 1000, 0, 2)] / 4095 * 255,
        ),
        (
            {
                "ModalityLUTSequence": [lut(list(range(5000, 0, -1)), 0, 16)],
                "WindowCenter": 3000,
                "WindowWidth": 2000,
            },
            window(5000.0 - GRADIENT, 3000, 2000),
        ),
    ],
)
def test_the_window_of_an_instance(
    client: Client, attributes: dict[str, Any], expected: np.ndarray
) -> None:
    assert_close(rendered(client, image(GRADIENT, **attributes)), expected)


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm", "examples_overlay.dcm"],
)
def test_instances_of_scanners(client: Client, name: str) -> None:
    content = sample(name)
    dataset = read(content)
    dataset.WindowCenter, dataset.WindowWidth = 300, 700
    values = apply_modality_lut(dataset.pixel_array, dataset)
    windowed = apply_voi_lut(values, dataset)
    # The output of pydicom is in the range that the pixels have.
    signed = int(dataset.PixelRepresentation)
    low = -signed * 2 ** (dataset.BitsStored - 1)
    ends = np.array([low, low + 2**dataset.BitsStored - 1])
    low, high = apply_modality_lut(ends, dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert_close(rendered(client, buffer.getvalue()), (windowed - low) / (high - low) * 255)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.arange(-100, 156, dtype=np.int16).reshape(16, 16), np.arange(256).reshape(16, 16)),
        (np.arange(100, 200, dtype=np.uint8).reshape(10, 10), np.arange(100, 200).reshape(10, 10)),
        (np.full((4, 4), 7, np.uint16), np.zeros((4, 4))),
    ],
)
def test_without_a_window(client: Client, pixels: np.ndarray, expected: np.ndarray) -> None:
    assert_close(rendered(client, image(pixels)), expected)


def test_single_bits_are_black_and_white(client: Client) -> None:
    content = sample("liver_1frame.dcm")
    assert np.array_equal(rendered(client, content), read(content).pixel_array * 255)


def test_floating_point_numbers(client: Client) -> None:
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    dataset = read(image(GRADIENT, WindowCenter=0, WindowWidth=2, VOILUTFunction="LINEAR_EXACT"))
    del dataset.PixelData
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = 3, 4, 32
    dataset.FloatPixelData = values.tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert_close(rendered(client, buffer.getvalue()), (values + 1) / 2 * 255)


@pytest.mark.parametrize(
    "name",
    [
        "examples_rgb_color.dcm",
        "examples_ybr_color.dcm",
        "examples_jpeg2k.dcm",
        "SC_rgb_rle_16bit.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
    ],
)
def test_colours(client: Client, name: str) -> None:
    content = sample(name)
    dataset = read(content)
    pixels = pixel_array(dataset, index=0)
    got = rendered(client, content)
    assert np.array_equal(got, pixels >> (dataset.BitsStored - 8))


def test_the_colours_of_a_palette(client: Client) -> None:
    content = sample("examples_palette.dcm")
    dataset = read(content)
    colours = apply_color_lut(dataset.pixel_array, dataset)
    expected = colours >> (8 * (colours.dtype.itemsize - 1))
    assert np.array_equal(rendered(client, content), expected)


def test_frames_have_windows_of_their_own(client: Client) -> None:
    groups, shared, voi, rescale = [], Dataset(), Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth = 1000, 500
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, 0
    shared.FrameVOILUTSequence = [voi]
    for sequence in ([], [rescale]):
        group = Dataset()
        group.PixelValueTransformationSequence = sequence
        groups.append(group)
    frames = np.stack([GRADIENT, GRADIENT])
    content = image(
        frames,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
    )
    path = put(client, content)
    expected = [window(GRADIENT, 1000, 500), window(GRADIENT * 2.0, 1000, 500)]
    for number in (1, 2):
        response = client.get(f"{path}/frames/{number}/rendered", PNG)
        assert_close(np.asarray(picture(response)), expected[number - 1])
    assert_close(np.asarray(picture(client.get(f"{path}/rendered", PNG))), expected[0])


def png(content: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG"
    return np.asarray(picture)


@pytest.mark.parametrize(
    "name",
    [
        "examples_overlay.dcm",
        "image_dfl.dcm",
        "examples_rgb_color.dcm",
        "examples_ybr_color.dcm",
        "SC_rgb_rle_2frame.dcm",
        "JPGExtended.dcm",
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
    ],
)
def test_png_has_the_values_of_the_pixels(client: Client, name: str) -> None:
    content = sample(name)
    dataset = read(content)
    count = int(dataset.get("NumberOfFrames") or 1)
    response = client.get(f"{put(client, content)}/frames/{count}", PNG_PART)
    ((label, picture),) = split(response)
    assert label == "image/png"
    assert response.headers["content-type"].startswith(f"{PNG_PART}; boundary=")
    expected = pixel_array(dataset, index=count - 1)
    assert np.array_equal(png(picture), expected.astype(f"u{expected.dtype.itemsize}"))


def test_png_has_the_colours_of_a_palette(client: Client) -> None:
    content = sample("examples_palette.dcm")
    dataset = read(content)
    ((_, picture),) = split(client.get(f"{put(client, content)}/frames/1", PNG_PART))
    colours = apply_color_lut(dataset.pixel_array, dataset)
    assert np.array_equal(png(picture), colours >> (8 * (colours.dtype.itemsize - 1)))


@pytest.mark.parametrize("name", ["SC_rgb_rle_16bit.dcm", "rtdose_1frame.dcm"])
def test_what_png_has_no_room_for(client: Client, name: str) -> None:
    response = client.get(f"{put(client, sample(name))}/frames/1", PNG_PART)
    assert (response.status, response.data[:11]) == (400, b"PNG is for ")
