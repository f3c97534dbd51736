"""WADO-RS frames: decoded or as stored, one or many, and the refusals."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import UID, generate_uid

from tests.emulator.client import MULTIPART, Client, read, sample, split
from tests.emulator.frames import OCTETS, STORED, changed, image, put

EXPLICIT = "1.2.840.10008.1.2.1"
LABEL = "application/octet-stream; transfer-syntax"
PNG = 'multipart/related; type="image/png"'


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


SLIM = (
    'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80, '
    'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.81, '
    'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90, '
    'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.91, '
    'multipart/related; type="image/jpx"; transfer-syntax=1.2.840.10008.1.2.4.92, '
    'multipart/related; type="image/jpx"; transfer-syntax=1.2.840.10008.1.2.4.93, '
    f"{STORED}, */*;q=0.1"
)
"""What the viewer of the Imaging Data Commons sends, two types of which Google does not serve."""


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("JPEG2000.dcm", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91"),
        ("MR_small_jp2klossless.dcm", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"),
        (
            "SC_rgb_jpeg_gdcm.dcm",
            "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.70",
        ),
        ("SC_rgb_rle.dcm", "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.5"),
        ("CT_small.dcm", f"application/octet-stream; transfer-syntax={EXPLICIT}"),
    ],
)
def test_of_what_is_wanted_equally_the_stored_form_is_sent(
    client: Client, name: str, label: str
) -> None:
    content = sample(name)
    dataset = read(content)
    stored = dataset.PixelData
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        (stored,) = generate_frames(stored, number_of_frames=1)
    response = client.get(f"{put(client, content)}/1", SLIM)
    assert response.headers["content-type"].startswith("multipart/related")
    assert split(response) == [(label, stored)]


@pytest.mark.parametrize(
    ("accept", "label"),
    [
        (f'{PNG}; q=0.9, multipart/related; type="image/jp2"; q=0.8', "image/png"),
        (
            f"{OCTETS}; q=0.9, {STORED}; q=0.5",
            f"application/octet-stream; transfer-syntax={EXPLICIT}",
        ),
        (f"{PNG}, {OCTETS}", "image/png"),
        (
            f'{PNG}, {OCTETS}, multipart/related; type="image/*"',
            "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91",
        ),
        ("*/*", f"{LABEL}={EXPLICIT}"),
    ],
)
def test_what_is_wanted_more_goes_before_the_stored_form(
    client: Client, accept: str, label: str
) -> None:
    ((got, _),) = split(client.get(f"{put(client, sample('JPEG2000.dcm'))}/1", accept))
    assert got == label


@pytest.mark.parametrize("other", ["image/jpeg", "image/dicom-rle"])
def test_native_frames_lie_in_the_file_as_they_are_wanted(client: Client, other: str) -> None:
    path = put(client, sample("MR_small_implicit.dcm"))
    accept = f'multipart/related; type="{other}", {OCTETS}'
    ((label, frame),) = split(client.get(f"{path}/1", accept))
    assert label == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert frame == read(sample("MR_small_implicit.dcm")).PixelData


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
    assert (response.status, response.data) == (400, b"one of the frame indexes is not valid")


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


@pytest.mark.parametrize(
    ("name", "accept", "is_compressed"),
    [
        ("CT_small.dcm", OCTETS, True),
        ("MR_small_RLE.dcm", OCTETS, True),
        ("MR_small_RLE.dcm", STORED, False),
        ("CT_small.dcm", PNG, False),
    ],
)
def test_uncompressed_frames_are_compressed_on_the_way(
    client: Client, name: str, accept: str, is_compressed: bool
) -> None:
    url = f"{client.web}{put(client, sample(name))}/1"
    headers = {"Authorization": f"Bearer {client.token}", "Accept": accept}
    plain = client.pool.request("GET", url, headers=headers)
    compressed = client.pool.request(
        "GET", url, headers={**headers, "Accept-Encoding": "gzip"}, decode_content=False
    )
    assert compressed.headers.get("content-encoding") == ("gzip" if is_compressed else None)
    if is_compressed:
        assert len(compressed.data) < len(plain.data)
        compressed._body = gzip.decompress(compressed.data)  # type: ignore[attr-defined]
    assert split(compressed) == split(plain)


def test_a_list_with_types_that_are_not_served(client: Client) -> None:
    """As viewers of the Imaging Data Commons ask for frames."""
    wanted = ", ".join(
        [
            f'{MULTIPART}; type="image/jpx"; transfer-syntax=1.2.840.10008.1.2.4.92',
            f'{MULTIPART}; type="image/jpx"; transfer-syntax=1.2.840.10008.1.2.4.93',
            f"{OCTETS}; transfer-syntax=*",
            "*/*;q=0.1",
        ]
    )
    content = sample("MR_small_jp2klossless.dcm")
    response = client.get(f"{put(client, content)}/1", wanted)
    assert response.status == 200
    ((content_type, frame),) = split(response)
    assert content_type == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.90"
    assert frame == next(generate_frames(read(content).PixelData, number_of_frames=1))
