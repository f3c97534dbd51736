"""WADO-RS rendered: pictures for people, compared with pydicom's own processing."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import urllib3
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import UID

from tests.emulator.client import Client, make_dicom, path_of, read, sample, split

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


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "image/*",
        JPEG,
        f"{JPEG}; transfer-syntax=1.2.840.10008.1.2.4.50",
        f"{PNG};q=0.3, {JPEG};q=0.4",
    ],
)
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_jpeg_is_the_default(client: Client, accept: str, version: str) -> None:
    path = put(client, sample("examples_rgb_color.dcm"))
    url = client.web.replace("/v1/", f"/{version}/") + path
    expected = np.asarray(picture(client.get(f"{url}/rendered", PNG))).astype(int)
    for resource in ("rendered", "frames/1/rendered"):
        got = np.asarray(picture(client.get(f"{url}/{resource}", accept), JPEG))
        assert np.abs(got - expected).mean() < 4


def test_jpeg_can_be_excluded(client: Client) -> None:
    path = put(client, image(GRADIENT))
    assert picture(client.get(f"{path}/rendered", f"{JPEG}; q=0, */*"), PNG).size == (120, 100)


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


@pytest.mark.parametrize(
    ("accept", "kind"), [("", JPEG), (f'multipart/related; type="{PNG}"', PNG)]
)
def test_several_frames_are_parts(client: Client, accept: str, kind: str) -> None:
    frames = np.stack([GRADIENT, GRADIENT[::-1], GRADIENT])
    path = put(client, image(frames))
    response = client.get(f"{path}/frames/2,1/rendered", accept)
    expected_type = f'multipart/related; type="{kind}"; boundary='
    assert response.headers["content-type"].startswith(expected_type)
    parts = split(response)
    assert [label for label, _ in parts] == [kind, kind]
    for (_, content), number in zip(parts, (2, 1), strict=True):
        assert content == client.get(f"{path}/frames/{number}/rendered", kind).data


@pytest.mark.parametrize(
    "accept", ["application/dicom", "image/gif", "text/html", f'"{JPEG}"', f"{JPEG}; q=0"]
)
def test_not_acceptable(client: Client, accept: str) -> None:
    path = put(client, image(np.stack([GRADIENT, GRADIENT])))
    response = client.get(f"{path}/rendered", accept)
    parts = f'multipart/related; type="{JPEG}", multipart/related; type="{PNG}"'
    start = f"no supported media type found in [{accept}], accept-header must include one of "
    assert (response.status, response.data.decode()) == (406, f"{start}{JPEG}, {PNG}, {parts}")
    response = client.get(f"{path}/frames/1,2/rendered", JPEG)
    assert (response.status, response.data.decode().endswith(f"one of {parts}")) == (406, True)


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        ("60,50", (60, 50)),
        ("60,1000", (60, 50)),
        ("1000,200", (240, 200)),
        ("10,10,,,,", (10, 8)),
        ("120,120,60,0,60,100", (72, 120)),
        ("1,10000,0,0,1,100", (1, 100)),
        ("30,30,100.5,80.5,10,10", (30, 30)),
    ],
)
def test_viewports_are_filled_in_proportion(
    client: Client, viewport: str, size: tuple[int, int]
) -> None:
    path = put(client, image(GRADIENT))
    for resource in ("rendered", "frames/1/rendered"):
        response = client.get(f"{path}/{resource}", PNG, viewport=viewport)
        assert picture(response).size == size


def test_a_viewport_shows_its_part_of_the_image(client: Client) -> None:
    path = put(client, image(GRADIENT))
    whole = np.asarray(picture(client.get(f"{path}/rendered", PNG)))
    part = whole[50:80, 10:60]
    for viewport, expected in (
        ("50,30,10,50,50,30", part),
        ("50,30,10,50,-50,30", part[:, ::-1]),
        ("50,30,10,50,50,-30", part[::-1]),
        ("120,100", whole),
    ):
        got = np.asarray(picture(client.get(f"{path}/rendered", PNG, viewport=viewport)))
        assert np.array_equal(got, expected), viewport


@pytest.mark.parametrize(
    "viewport",
    [
        "",
        "10",
        "10,",
        "0,10",
        "-5,10",
        "x,10",
        "1e1,10",
        "10001,10",
        "10,10001",
        "1.5,10",
        "10,10,0,0",
        "10,10,0,0,10",
        "10,10,0,0,10,10,0",
        "10,10,0,0,0,10",
        "10,10,0,0,121,100",
        "10,10,0,1,120,100",
        "10,10,-1,0,10,10",
        "10,10,120,0,,",
        "10,10,nan,0,10,10",
        "\uff110,10",
    ],
)
def test_viewports_that_are_none(client: Client, viewport: str) -> None:
    path = put(client, image(GRADIENT))
    response = client.get(f"{path}/rendered", PNG, viewport=viewport)
    assert response.status == 400
    assert b"viewport" in response.data


def test_images_that_are_too_large_for_a_viewport(client: Client) -> None:
    path = put(client, image(np.zeros((2, 10_001), np.uint8)))
    assert picture(client.get(f"{path}/rendered", PNG)).size == (10_001, 2)
    response = client.get(f"{path}/rendered", PNG, viewport="10,10")
    assert (response.status, response.data) == (400, b"the image is too large for a viewport")


@pytest.mark.parametrize("name", ["window", "quality", "annotation", "iccprofile"])
def test_other_parameters(client: Client, name: str) -> None:
    path = put(client, image(GRADIENT))
    response = client.get(f"{path}/rendered", PNG, **{name: "1"})
    assert (response.status, response.data.decode()) == (400, f"unsupported parameter: {name}")
    assert client.get(f"{path}/rendered", PNG, alt="media").status == 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (sample("rtplan.dcm"), "the instance has no pixel data"),
        (make_dicom(), "the image cannot be read"),
        (image(GRADIENT, PhotometricInterpretation="CMYK"), "the image cannot be rendered"),
        (image(GRADIENT, WindowCenter=1, WindowWidth=0.5), "the image cannot be rendered"),
        (image(GRADIENT, Rows=5000), "Invalid frame number: 1"),
    ],
)
def test_what_cannot_be_rendered(client: Client, content: bytes, reason: str) -> None:
    response = client.get(f"{put(client, content)}/rendered")
    assert response.status == 400
    assert response.data.decode().startswith(reason)


def test_a_syntax_that_nothing_decodes(client: Client) -> None:
    dataset = read(sample("JPEG2000.dcm"))
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    response = client.get(f"{put(client, buffer.getvalue())}/rendered")
    assert (response.status, b"1.2.4.100 cannot be rendered" in response.data) == (400, True)


@pytest.mark.parametrize("number", ["0", "2", "x"])
def test_frames_that_there_are_not(client: Client, number: str) -> None:
    path = put(client, image(GRADIENT))
    response = client.get(f"{path}/frames/{number}/rendered")
    assert (response.status, response.data.decode()) == (400, f"Invalid frame number: {number}")


def test_what_is_not_there_is_forbidden(client: Client) -> None:
    for resource in ("rendered", "frames/1/rendered"):
        url = f"/studies/1.2/series/1.3/instances/1.4/{resource}"
        assert client.get(url).status == 403
    assert client.get("/studies/1.2/rendered").status == 404


def test_a_client_by_others(client: Client) -> None:
    content = sample("SC_rgb_rle_2frame.dcm")
    dataset = read(content)
    put(client, content)
    session = create_session()
    session.headers["Authorization"] = f"Bearer {client.token}"
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    with session:
        other = DICOMwebClient(client.web, session=session)
        whole = other.retrieve_instance_rendered(*uids, media_types=(PNG,))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(whole))), dataset.pixel_array[0])
        small = other.retrieve_instance_rendered(
            *uids, media_types=(JPEG,), params={"viewport": "20,20"}
        )
        assert Image.open(io.BytesIO(small)).size == (20, 20)
        frame = other.retrieve_instance_frames_rendered(*uids, [2], media_types=(PNG,))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(frame))), dataset.pixel_array[1])
        raw = other.retrieve_instance_frames(*uids, [1, 2])
        assert raw == [pixels.tobytes() for pixels in dataset.pixel_array]
        pictures = other.retrieve_instance_frames(*uids, [1, 2], media_types=("image/jpeg",))
        assert [Image.open(io.BytesIO(p)).format for p in pictures] == ["JPEG", "JPEG"]
