"""WADO-RS frames: decoded or as stored, one or many, and the refusals."""

from __future__ import annotations

import copy
import io
import zlib
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import UID, generate_uid

from tests.emulator.client import MULTIPART, Client, make_dicom, path_of, read, sample, split

EXPLICIT = "1.2.840.10008.1.2.1"
OCTETS = 'multipart/related; type="application/octet-stream"'
PNG = 'multipart/related; type="image/png"'
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


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "image_dfl.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "rtdose_rle.dcm",
        "SC_rgb_rle_2frame.dcm",
        "examples_ybr_color.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_default_is_what_an_instance_is_decoded_to(client: Client, name: str) -> None:
    path = put(client, sample(name))
    decoded = read(client.get(path.removesuffix("/frames"), "application/dicom").data)
    count = int(decoded.get("NumberOfFrames") or 1)
    size = len(decoded.pixel_array.tobytes()) // count
    whole = decoded.PixelData
    expected = [whole[at : at + size] for at in range(0, count * size, size)]
    if decoded.PhotometricInterpretation == "YBR_FULL_422":
        expected = [whole[at : at + size * 2 // 3] for at in range(0, len(whole), size * 2 // 3)]
    numbers = ",".join(str(number + 1) for number in range(count))
    for accept in ("", "*/*", OCTETS, f"{OCTETS}; transfer-syntax={EXPLICIT}"):
        response = client.get(f"{path}/{numbers}", accept)
        content_type = f"application/octet-stream; transfer-syntax={EXPLICIT}"
        assert split(response) == [(content_type, frame) for frame in expected]
        assert response.headers["content-type"].startswith(f"{OCTETS}; boundary=")


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", "image/jpeg"),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls"),
        ("MR_small_jp2klossless.dcm", "image/jp2"),
        ("SC_rgb_rle_2frame.dcm", "image/dicom-rle"),
    ],
)
def test_compressed_frames_as_they_are_stored(client: Client, name: str, media_type: str) -> None:
    content = sample(name)
    dataset = read(content)
    syntax = dataset.file_meta.TransferSyntaxUID
    count = int(dataset.get("NumberOfFrames") or 1)
    path = put(client, content)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
    numbers = ",".join(str(number) for number in range(count, 0, -1))
    response = client.get(f"{path}/{numbers}", STORED)
    label = f"application/octet-stream; transfer-syntax={syntax}"
    assert split(response) == [(label, frame) for frame in reversed(frames)]
    asked = f'multipart/related; type="{media_type}"'
    for accept in (asked, f"{asked}; transfer-syntax={syntax}", f"{asked}; transfer-syntax=*"):
        response = client.get(f"{path}/1", accept)
        assert split(response) == [(f"{media_type}; transfer-syntax={syntax}", frames[0])]
        assert response.headers["content-type"].startswith(f"{asked}; boundary=")


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
    response = client.get(f"{put(client, content)}/{count}", PNG)
    ((label, picture),) = split(response)
    assert label == "image/png"
    assert response.headers["content-type"].startswith(f"{PNG}; boundary=")
    expected = pixel_array(dataset, index=count - 1)
    assert np.array_equal(png(picture), expected.astype(f"u{expected.dtype.itemsize}"))


def test_png_has_the_colours_of_a_palette(client: Client) -> None:
    content = sample("examples_palette.dcm")
    dataset = read(content)
    ((_, picture),) = split(client.get(f"{put(client, content)}/1", PNG))
    colours = apply_color_lut(dataset.pixel_array, dataset)
    assert np.array_equal(png(picture), colours >> (8 * (colours.dtype.itemsize - 1)))


@pytest.mark.parametrize("name", ["SC_rgb_rle_16bit.dcm", "rtdose_1frame.dcm"])
def test_what_png_has_no_room_for(client: Client, name: str) -> None:
    response = client.get(f"{put(client, sample(name))}/1", PNG)
    assert (response.status, response.data[:11]) == (400, b"PNG is for ")


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


@pytest.mark.parametrize(
    ("media_type", "label"),
    [
        ("image/jpeg", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"),
        ("image/jp2", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"),
        ("image/*", "image/png"),
    ],
)
def test_what_is_chosen_for_a_native_image(client: Client, media_type: str, label: str) -> None:
    path = put(client, changed(image(1, bytes(64 * 64)), Rows=64, Columns=64))
    for accept, expected in (
        (f'multipart/related; type="{media_type}"', label),
        (f"{PNG}; q=0.1, {OCTETS}; q=0.5", f"application/octet-stream; transfer-syntax={EXPLICIT}"),
    ):
        ((got, _),) = split(client.get(f"{path}/1", accept))
        assert got == expected


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/jp2", "application/x-deflate"])
def test_single_bits_are_not_compressed(client: Client, media_type: str) -> None:
    path = put(client, sample("liver_1frame.dcm"))
    response = client.get(f"{path}/1", f'multipart/related; type="{media_type}"')
    assert (response.status, response.data[:19]) == (400, b"neither single bits")


def test_colours_beyond_8_bits_do_not_become_jpeg(client: Client) -> None:
    path = put(client, sample("SC_rgb_rle_16bit.dcm"))
    response = client.get(f"{path}/1", 'multipart/related; type="image/jpeg"')
    assert (response.status, response.data[:16]) == (400, b"baseline JPEG is")


def test_deflated_frames_can_be_decoded(client: Client) -> None:
    content = sample("SC_rgb_rle_2frame.dcm")
    path = put(client, content).removesuffix("/frames")
    syntax = "1.2.840.10008.1.2.8.1"
    deflated = client.get(path, f"application/dicom; transfer-syntax={syntax}").data
    assert client.request("DELETE", path).status == 200
    frames = put(client, deflated)
    pixels = read(content).pixel_array
    got = split(client.get(f"{frames}/1,2"))
    assert [frame for _, frame in got] == [frame.tobytes() for frame in pixels]
    ((label, frame),) = split(client.get(f"{frames}/2", STORED))
    assert label == f"application/octet-stream; transfer-syntax={syntax}"
    assert zlib.decompress(frame, -15) == pixels[1].tobytes()


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_many_frames_in_several_ways_to_find_them(client: Client, table: str) -> None:
    content = sample("SC_rgb_rle_2frame.dcm")
    frames = list(generate_frames(read(content).PixelData, number_of_frames=2)) * 20
    values: dict[str, Any] = {"NumberOfFrames": 40}
    if table == "extended":
        values["PixelData"], *tables = encapsulate_extended(frames)
        values["ExtendedOffsetTable"], values["ExtendedOffsetTableLengths"] = tables
    else:
        values["PixelData"] = encapsulate(frames, fragments_per_frame=1, has_bot=table == "basic")
    path = put(client, changed(content, **values))
    got = split(client.get(f"{path}/40,1,39", STORED))
    assert [frame for _, frame in got] == [frames[39], frames[0], frames[38]]


def test_native_bytes_as_they_are_stored(client: Client) -> None:
    content = sample("MR_small_bigendian.dcm")
    ((label, frame),) = split(client.get(f"{put(client, content)}/1", STORED))
    assert label == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2"
    assert frame == read(content).PixelData


def test_single_bits_do_not_end_with_a_byte(client: Client) -> None:
    bits = np.random.default_rng(1).integers(0, 2, 45, np.uint8)
    pixels = np.packbits(bits, bitorder="little").tobytes()
    path = put(client, image(3, pixels, bits=1))
    for number, (_, frame) in enumerate(split(client.get(f"{path}/1,2,3"))):
        unpacked = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
        assert unpacked[:15].tolist() == bits[15 * number : 15 * number + 15].tolist()
        assert unpacked[15:].tolist() == [0]


def test_a_frame_larger_than_a_block(client: Client) -> None:
    pixels = np.random.default_rng(2).bytes(2 * 900 * 701)
    content = changed(image(2, pixels), Rows=900, Columns=701)
    got = split(client.get(f"{put(client, content)}/2,1,2", STORED))
    frames = [pixels[900 * 701 :], pixels[: 900 * 701]]
    assert [frame for _, frame in got] == [*frames, frames[0]]


@pytest.mark.parametrize("numbers", ["0", "4", "1,4", "1,,2", "x", "-1", "1.0", "9" * 30, "²"])
def test_frames_that_there_are_not(client: Client, numbers: str) -> None:
    path = put(client, image(3, bytes(46)))
    response = client.request("GET", f"{path}/{numbers}")
    assert response.status == 400
    assert response.data.startswith(b"Invalid frame number: ")


def test_pixels_that_are_cut_off(client: Client) -> None:
    path = put(client, image(3, bytes(44)))
    assert client.get(f"{path}/1,2").status == 200
    assert client.get(f"{path}/3").status == 400


def test_instances_without_an_image(client: Client) -> None:
    for content, reason in (
        (sample("rtplan.dcm"), b"the instance has no pixel data"),
        (make_dicom(), b"the image cannot be read"),
    ):
        response = client.get(f"{put(client, content)}/1")
        assert response.status == 400
        assert response.data.startswith(reason)


def test_a_frame_that_cannot_be_decoded(client: Client) -> None:
    content = sample("JPEG2000.dcm")
    broken = content.replace(b"\xff\x4f\xff\x51", b"\0" * 4)
    path = put(client, broken)
    response = client.get(f"{path}/1")
    assert (response.status, response.data[:25]) == (400, b"frame 1 cannot be decoded")
    assert client.get(f"{path}/1", STORED).status == 200


@pytest.mark.parametrize(
    "accept",
    [
        "application/octet-stream",
        "image/jpeg",
        "image/png",
        'multipart/related; type="image/gif"',
        'multipart/related; type="image/jls"',
        'multipart/related; type="image/jpeg"; transfer-syntax=*',
        'multipart/related; type="image/png"; transfer-syntax=*',
        MULTIPART,
        f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.4.91",
    ],
)
def test_not_acceptable(client: Client, accept: str) -> None:
    path = put(client, sample("MR_small_jp2klossless.dcm"))
    response = client.get(f"{path}/1", accept)
    assert response.status == 406
    expected = f"no supported media type found in [{accept}], accept-header must include one of "
    assert response.data.decode().startswith(expected + OCTETS)


def test_a_syntax_that_nothing_decodes(client: Client) -> None:
    content = sample("JPEG2000.dcm")
    dataset = read(content)
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset)
    path = put(client, buffer.getvalue())
    assert client.get(f"{path}/1").status == 406
    assert client.get(f"{path}/1", STORED).status == 200


def test_an_instance_that_there_is_not(client: Client) -> None:
    uid = generate_uid()
    path = f"/studies/{uid}/series/{uid}/instances/{uid}/frames/1"
    assert client.get(path).status == 403
