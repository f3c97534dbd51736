"""Bulk data: every address in metadata leads to the value in the file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import urllib3
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.sequence import Sequence

from orthanc_gcp.emulator.dicom.reader import MAX_INFLATED
from tests.emulator.client import AS_STORED, Client, make_dicom, path_of, read, sample, split
from tests.emulator.dicom.test_inflation import deflated
from tests.emulator.images import image

OCTETS = "application/octet-stream"
PARTS = f'multipart/related; type="{OCTETS}"; transfer-syntax=*'
EXPLICIT = "1.2.840.10008.1.2.1"


def addresses(metadata: dict[str, Any], *path: str | int) -> Iterator[tuple[list[Any], str]]:
    """Yield where bulk data lies in metadata, and its address."""
    for tag, element in metadata.items():
        if "BulkDataURI" in element:
            yield [*path, tag], element["BulkDataURI"]
        elif element["vr"] == "SQ":
            for index, item in enumerate(element.get("Value", [])):
                yield from addresses(item, *path, tag, index)


def value_at(dataset: Any, path: list[Any]) -> Any:
    if path[0].startswith("0002"):
        dataset = dataset.file_meta
    for step in path:
        dataset = dataset[int(step, 16) if isinstance(step, str) else step]
    return dataset.value


def put(client: Client, content: bytes) -> dict[str, Any]:
    assert client.store(content).status == 200
    metadata = json.loads(client.get(f"{path_of(read(content))}/metadata").data)
    return dict(metadata[0])


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("CT_small.dcm", 4),
        ("waveform_ecg.dcm", 3),
        ("examples_overlay.dcm", 2),
        ("image_dfl.dcm", 2),
        ("MR_small_implicit.dcm", 2),
    ],
)
def test_every_address_leads_to_its_value(client: Client, name: str, least: int) -> None:
    content = sample(name)
    found = list(addresses(put(client, content)))
    assert len(found) >= least
    for path, url in found:
        for accept in (f"{OCTETS}; transfer-syntax=*", OCTETS):
            response = client.get(url, accept)
            assert response.status == 200
            assert response.data == value_at(read(content), path), path
            assert response.headers["content-length"] == str(len(response.data))
            assert response.headers["content-type"].startswith(f"{OCTETS}; transfer-syntax=")
        ((label, part),) = split(client.get(url, PARTS))
        assert (label, part) == (response.headers["content-type"], response.data)


@pytest.mark.parametrize("undefined", [False, True])
def test_values_inside_of_sequences(client: Client, undefined: bool) -> None:
    inner = Dataset()
    inner.ICCProfile = b"profile"
    middle, outer = Dataset(), Dataset()
    middle.OpticalPathSequence = Sequence([Dataset(), inner])
    outer.add_new(0x00420011, "OB", b"%PDF" * 100_000)
    dataset = read(make_dicom(OpticalPathSequence=Sequence([middle]), SourceImageSequence=[outer]))
    for tag in (0x00480105, 0x00082112):
        dataset[tag].is_undefined_length = undefined
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    metadata = put(client, buffer.getvalue())
    assert metadata["00480105"]["Value"][0]["00480105"]["Value"][1]["00282000"]["BulkDataURI"] == (
        f"{client.web}{path_of(dataset)}/bulkdata/00480105/0/00480105/1/00282000"
    )
    values = {"/".join(map(str, path)): url for path, url in addresses(metadata)}
    nested = client.get(values["00480105/0/00480105/1/00282000"], OCTETS)
    assert nested.data == b"profile\0"
    assert client.get(values["00082112/0/00420011"], OCTETS).data == b"%PDF" * 100_000


def test_compressed_pixels_come_with_their_items(client: Client) -> None:
    content = sample("SC_rgb_rle_2frame.dcm")
    url = put(client, content)["7FE00010"]["BulkDataURI"]
    response = client.get(url, f"{OCTETS}; transfer-syntax=*")
    assert response.headers["content-type"] == f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.5"
    stored = read(content).PixelData
    assert response.data.startswith(stored)
    assert list(generate_frames(response.data, number_of_frames=2)) == list(
        generate_frames(stored, number_of_frames=2)
    )


@pytest.mark.parametrize("accept", [PARTS, f"{OCTETS}; transfer-syntax=*"])
def test_a_long_value_of_a_deflated_file_comes_whole(client: Client, accept: str) -> None:
    frames = np.zeros((40, 1000, 1000), np.uint16)
    frames[-1, -1] = 7
    assert frames.nbytes > MAX_INFLATED
    url = put(client, deflated(image(frames)))["7FE00010"]["BulkDataURI"]
    answer = client.get(url, accept)
    content = split(answer)[0][1] if accept == PARTS else answer.data
    assert (answer.status, content) == (200, frames.tobytes())


def test_a_long_value_that_is_cut_off_does_not_end_well(client: Client) -> None:
    frames = np.zeros((40, 1000, 1000), np.uint16)
    content = deflated(image(frames))
    assert client.store(content[:-100]).status == 200
    with pytest.raises(urllib3.exceptions.HTTPError):
        client.get(f"{path_of(read(content))}/bulkdata/7FE00010", f"{OCTETS}; transfer-syntax=*")


@pytest.mark.parametrize("accept", ["", "*/*", PARTS, f'multipart/related; type="{OCTETS}"'])
def test_a_part_is_the_default(client: Client, accept: str) -> None:
    pixels = bytes(1_000_000)
    url = put(client, make_dicom(pixels))["7FE00010"]["BulkDataURI"]
    response = client.get(url, accept)
    assert split(response) == [(f"{OCTETS}; transfer-syntax={EXPLICIT}", pixels)]
    assert response.headers["content-type"].startswith(f'multipart/related; type="{OCTETS}"; b')


@pytest.mark.parametrize(
    "accept", [f"{OCTETS}; transfer-syntax={EXPLICIT}", "image/jpeg", AS_STORED]
)
def test_not_acceptable(client: Client, accept: str) -> None:
    url = put(client, make_dicom())["7FE00010"]["BulkDataURI"]
    response = client.get(url, accept)
    assert response.status == 406
    assert response.data.decode().endswith(f"{PARTS}, {OCTETS}; transfer-syntax=*")


@pytest.mark.parametrize(
    "path",
    [
        "00100010",
        "00282000",
        "7FE00010/0/7FE00010",
        "7FE00010/0",
        "00081115/0",
        "00081115/x/00282000",
        "00081115/9/00282000",
        "nonsense",
        "7FE00010//",
    ],
)
def test_what_is_not_bulk_data(client: Client, path: str) -> None:
    content = make_dicom(ReferencedSeriesSequence=[Dataset()])
    put(client, content)
    response = client.get(f"{path_of(read(content))}/bulkdata/{path}")
    assert response.status == 403
    assert f"/bulkdata/{path}'" in json.loads(response.data)["error"]["message"]
