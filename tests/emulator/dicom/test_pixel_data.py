"""The frames of an image: found in its file, and decoded."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from tests.emulator.client import Client, make_dicom, read, sample, split
from tests.emulator.frames import STORED, changed, image, put


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
