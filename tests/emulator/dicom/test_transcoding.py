"""WADO-RS in compressed transfer syntaxes: of studies, series and instances."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, parse_basic_offsets
from pydicom.uid import generate_uid

from orthanc_gcp.emulator.dicom.transcoding import TranscodingError, transcode
from tests.emulator.client import (
    AS_STORED,
    MULTIPART,
    Client,
    make_dicom,
    path_of,
    read,
    sample,
    split,
)

JPEG = "1.2.840.10008.1.2.4.50"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
EXPLICIT = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
GRAYSCALE: dict[str, Any] = {
    "Rows": 64,
    "Columns": 64,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": 0,
    "BitsAllocated": 8,
    "BitsStored": 8,
}


def put(client: Client, content: bytes) -> str:
    """Store a file; return the path of the instance."""
    assert client.store(content).status == 200
    return path_of(read(content))


def only_part(response: urllib3.BaseHTTPResponse, syntax: str) -> Dataset:
    ((content_type, content),) = split(response)
    assert content_type == f"application/dicom; transfer-syntax={syntax}"
    dataset = read(content)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    return dataset


def pixels_of(dataset: Dataset) -> np.ndarray:
    """Return pixels; pydicom does not know frames that are deflated."""
    if dataset.file_meta.TransferSyntaxUID != DEFLATED_FRAMES:
        return dataset.pixel_array
    count = int(dataset.get("NumberOfFrames") or 1)
    frames = generate_frames(dataset.PixelData, number_of_frames=count)
    kind = np.dtype(f"{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}")
    samples = [3] if dataset.SamplesPerPixel == 3 else []
    shape = [count] * (count > 1) + [dataset.Rows, dataset.Columns, *samples]
    native = b"".join(zlib.decompress(frame, -15) for frame in frames)
    return np.frombuffer(native, kind).reshape(shape)


@pytest.mark.parametrize("wanted", [JPEG_2000_LOSSLESS, RLE, DEFLATED_FRAMES])
@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "image_dfl.dcm",
        "examples_rgb_color.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "examples_palette.dcm",
        "SC_rgb_rle_16bit_2frame.dcm",
        "JPGExtended.dcm",
    ],
)
def test_without_loss(client: Client, name: str, wanted: str) -> None:
    content = sample(name)
    stored = read(content)
    path = put(client, content)
    instance = path.partition("/series")[0], path.partition("/instances")[0], path
    for resource in instance:
        accept = f"{MULTIPART}; transfer-syntax={wanted}"
        got = only_part(client.get(resource, accept), wanted)
        assert np.array_equal(pixels_of(got), stored.pixel_array)
        assert got.SOPInstanceUID == stored.SOPInstanceUID
        assert got.get("LossyImageCompression") == stored.get("LossyImageCompression")
        assert got.get("PatientName") == stored.get("PatientName")
    single = client.get(path, f"application/dicom; transfer-syntax={wanted}")
    assert single.headers["content-type"] == f"application/dicom; transfer-syntax={wanted}"
    assert single.headers["content-length"] == str(len(single.data))
    assert read(single.data).PixelData == got.PixelData


@pytest.mark.parametrize(
    ("wanted", "name", "tolerance"),
    [
        (JPEG, "image_dfl.dcm", 1),
        (JPEG, "examples_rgb_color.dcm", 5),
        (JPEG_2000, "image_dfl.dcm", 1),
        (JPEG_2000, "examples_rgb_color.dcm", 5),
        (JPEG_2000, "CT_small.dcm", 10),
    ],
)
def test_with_loss(client: Client, wanted: str, name: str, tolerance: int) -> None:
    content = sample(name)
    stored = read(content)
    response = client.get(put(client, content), f"{MULTIPART}; transfer-syntax={wanted}")
    got = only_part(response, wanted)
    error = got.pixel_array.astype(int) - stored.pixel_array
    assert np.abs(error).mean() < tolerance
    assert got.LossyImageCompression == "01"
    assert got.LossyImageCompressionMethod in ("ISO_10918_1", "ISO_15444_1")
    if wanted == JPEG and stored.SamplesPerPixel == 3:
        assert got.PhotometricInterpretation == "YBR_FULL_422"
    assert len(got.PixelData) < len(stored.PixelData)


def test_deflated_frames_are_decoded(client: Client) -> None:
    content = sample("examples_ybr_color.dcm")
    path = put(client, content)
    deflated = client.get(path, f"application/dicom; transfer-syntax={DEFLATED_FRAMES}").data
    assert client.request("DELETE", path).status == 200
    put(client, deflated)
    native = only_part(client.get(path), "1.2.840.10008.1.2.1")
    assert native.PhotometricInterpretation == "RGB"
    assert np.array_equal(native.pixel_array, read(content).pixel_array)
    lossless = only_part(
        client.get(path, f"{MULTIPART}; transfer-syntax={JPEG_2000_LOSSLESS}"), JPEG_2000_LOSSLESS
    )
    assert np.array_equal(lossless.pixel_array, read(content).pixel_array)


@pytest.mark.parametrize("suffix", ["4.51", "4.57", "4.70", "4.80", "4.81", "4.110", "4.201"])
@pytest.mark.parametrize("level", ["series", "instances", "nothing"])
def test_what_nothing_here_writes(client: Client, suffix: str, level: str) -> None:
    path = put(client, sample("image_dfl.dcm")).partition(f"/{level}")[0]
    accept = f"{MULTIPART}; transfer-syntax=1.2.840.10008.1.2.{suffix}"
    response = client.get(path, accept)
    assert response.status == 406
    start = f"no supported media type found in [{accept}], accept-header must include one of "
    assert response.data.decode().startswith(start)


@pytest.mark.parametrize(
    ("name", "wanted", "reason"),
    [
        ("CT_small.dcm", JPEG, "baseline JPEG is for samples of 8 bits without a sign"),
        ("SC_rgb_rle_16bit.dcm", JPEG, "baseline JPEG is for samples of 8 bits without a sign"),
        ("examples_palette.dcm", JPEG_2000, "indices of a palette are not compressed with losses"),
        ("liver_1frame.dcm", RLE, "BitsAllocated non-divisible by 8"),
        ("rtdose_1frame.dcm", RLE, "One or more of the following values is not valid"),
    ],
)
def test_images_of_the_wrong_kind(client: Client, name: str, wanted: str, reason: str) -> None:
    path = put(client, sample(name))
    response = client.get(path, f"{MULTIPART}; transfer-syntax={wanted}")
    assert response.status == 400
    assert response.data.decode().startswith(f"the instance cannot be transcoded: {reason}")
    assert client.get(path, AS_STORED).status == 200


def test_small_images_are_too_small_for_jpeg_2000(client: Client) -> None:
    accept = f"application/dicom; transfer-syntax={JPEG_2000_LOSSLESS}"
    for side, status in ((32, 200), (31, 400)):
        content = make_dicom(bytes(32 * side), **{**GRAYSCALE, "Rows": side, "Columns": 32})
        assert client.get(put(client, content), accept).status == status


@pytest.mark.parametrize(
    ("wanted", "bits", "status"),
    [
        (JPEG_2000_LOSSLESS, 24, 200),
        (JPEG_2000_LOSSLESS, 25, 400),
        (JPEG_2000, 16, 200),
        (JPEG_2000, 17, 400),
    ],
)
def test_many_bits_in_jpeg_2000(client: Client, wanted: str, bits: int, status: int) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint32)
    attributes = {**GRAYSCALE, "BitsAllocated": 32, "BitsStored": bits}
    path = put(client, make_dicom(pixels.tobytes(), **attributes))
    response = client.get(path, f"application/dicom; transfer-syntax={wanted}")
    assert response.status == status
    if status == 200:
        error = read(response.data).pixel_array.ravel().astype(int) - pixels
        assert np.abs(error).max() <= (100 if wanted == JPEG_2000 else 0)


def test_an_alternative_that_is_there(client: Client) -> None:
    path = put(client, sample("image_dfl.dcm"))
    accept = ", ".join(
        f"{MULTIPART}; transfer-syntax=1.2.840.10008.1.2.{suffix}" for suffix in ("4.80", "5")
    )
    assert only_part(client.get(path, accept), RLE).PixelData


def test_an_answer_breaks_off_at_an_instance_that_cannot_be_had(client: Client) -> None:
    study = generate_uid()
    image = make_dicom(bytes(64 * 64), StudyInstanceUID=study, **GRAYSCALE)
    client.store(image)
    client.store(make_dicom(StudyInstanceUID=study))
    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.get(f"/studies/{study}", f"{MULTIPART}; transfer-syntax={RLE}")


def test_a_file_of_more_than_1_gb(tmp_path: Path) -> None:
    large = tmp_path / "large.dcm"
    with large.open("wb") as hole:
        hole.truncate(1_000_000_001)
    with (
        large.open("rb") as source,
        (tmp_path / "made.dcm").open("wb") as target,
        pytest.raises(TranscodingError, match="too large"),
    ):
        transcode(source, RLE, target, lambda: None)


def saved(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("frames", [2, 500_000_000])
@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_implicit.dcm"])
def test_frames_that_are_not_there(client: Client, name: str, frames: int) -> None:
    dataset = read(sample(name))
    dataset.NumberOfFrames = frames
    path = put(client, saved(dataset))
    for wanted in (JPEG_2000_LOSSLESS, DEFLATED_FRAMES):
        response = client.get(path, f"application/dicom; transfer-syntax={wanted}")
        assert response.status == 400


@pytest.mark.parametrize("wanted", [JPEG_2000_LOSSLESS, RLE, EXPLICIT])
@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_implicit.dcm"])
def test_what_comes_after_the_pixels_stays(client: Client, name: str, wanted: str) -> None:
    dataset = read(sample(name))
    dataset.add_new(0x7FE10010, "LO", "SOMEBODY")
    dataset.add_new(0x7FE11001, "UN", b"1234")
    dataset.DataSetTrailingPadding = bytes(30)
    path = put(client, saved(dataset))
    got = read(client.get(path, f"application/dicom; transfer-syntax={wanted}").data)
    assert got[0x7FE10010].value == "SOMEBODY"
    assert got[0x7FE11001].value == b"1234"
    assert got.DataSetTrailingPadding == bytes(30)
    assert np.array_equal(got.pixel_array, dataset.pixel_array)


def test_frames_of_odd_length(client: Client) -> None:
    """The basic offset table leads to each, and the native value is padded once."""
    pixels = np.random.default_rng(3).integers(0, 255, (3, 33, 35), np.uint8)
    attributes = {**GRAYSCALE, "Rows": 33, "Columns": 35, "NumberOfFrames": 3}
    path = put(client, make_dicom(pixels.tobytes() + b"\0", **attributes))
    compressed = client.get(path, f"application/dicom; transfer-syntax={RLE}").data
    dataset = read(compressed)
    assert np.array_equal(dataset.pixel_array, pixels)
    offsets = parse_basic_offsets(dataset.PixelData)
    assert len(offsets) == 3
    fragments = dataset.PixelData[8 + 4 * 3 :]
    assert all(fragments[offset : offset + 4] == b"\xfe\xff\x00\xe0" for offset in offsets)
    assert client.request("DELETE", path).status == 200
    native = read(client.get(put(client, compressed), "application/dicom").data)
    assert native.PixelData == pixels.tobytes() + b"\0"
