"""One instance on the page: its attributes, and a frame as an image."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import urllib3
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.emulator.client import Client, make_dicom, read, sample
from tests.emulator.images import GRADIENT, image, picture


def ask(client: Client, view: str, content: bytes, **query: Any) -> urllib3.BaseHTTPResponse:
    """Store a file, and ask for something of it."""
    assert client.store(content).status in (200, 409)
    dataset = read(content)
    where = {
        "store": client.store_name,
        "study": dataset.StudyInstanceUID,
        "series": dataset.SeriesInstanceUID,
        "instance": dataset.SOPInstanceUID,
        **query,
    }
    return client.pool.request("GET", f"{client.url}/emulator/{view}?{urlencode(where)}")


def message(response: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    return response.status, response.json()["error"]["message"]


@pytest.mark.filterwarnings("ignore:The value length")
def test_the_attributes_of_an_instance(shared_admin):
    content = make_dicom(
        PatientName="Yamada^Tarou=山田^太郎",
        SpecificCharacterSet="ISO_IR 192",
        ImageType=["ORIGINAL", "PRIMARY"],
        ReferencedStudySequence=Sequence([Dataset(), Dataset()]),
        PixelSpacing=["1.0", "2.0"],
        ImageComments="<b>" + "i" * 5_000,
        Rows=512,
        Occupation="",
    )
    found = ask(shared_admin, "instance", content).json()
    shown = {one["name"]: one for one in found["attributes"]}
    assert shown["Patient's Name"] == {
        "tag": "(0010,0010)",
        "vr": "PN",
        "name": "Patient's Name",
        "value": "Yamada^Tarou=山田^太郎",
    }
    assert shown["Image Type"]["value"] == "ORIGINAL\\PRIMARY"
    assert shown["Referenced Study Sequence"]["value"] == "2 items"
    assert shown["Pixel Spacing"]["value"] == "1.0\\2.0"
    assert shown["Image Comments"]["value"] == "<b>" + "i" * 297 + "…"
    assert shown["Rows"]["value"] == "512"
    assert shown["Occupation"]["value"] == ""
    assert shown["Pixel Data"]["value"] == "2 bytes"
    assert found["more"] is False


def test_private_attributes_and_no_more_than_some(shared_admin):
    dataset = read(make_dicom())
    block = dataset.private_block(0x0009, "test", create=True)
    for number in range(200):
        block.add_new(number, "LO", str(number))
    other = dataset.private_block(0x000B, "<i>", create=True)
    for number in range(256):
        other.add_new(number, "UN", b"\0\1")
    third = dataset.private_block(0x000D, "x", create=True)
    for number in range(256):
        third.add_new(number, "US", number)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    found = ask(shared_admin, "instance", buffer.getvalue()).json()
    assert (len(found["attributes"]), found["more"]) == (500, True)
    private = [one for one in found["attributes"] if one["name"] == "private attribute"]
    assert [one["value"] for one in private[:3]] == ["test", "0", "1"]
    assert "2 bytes" in {one["value"] for one in private}


def test_a_small_image_as_it_is(shared_admin):
    content = image(GRADIENT)
    assert ask(shared_admin, "instance", content).json()["frames"] == 1
    shown = picture(ask(shared_admin, "rendered", content))
    dataset = read(content)
    path = f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances"
    google = picture(shared_admin.get(f"{path}/{dataset.SOPInstanceUID}/rendered", "image/png"))
    assert np.array_equal(np.asarray(shown), np.asarray(google))


def test_a_large_image_made_smaller(shared_admin):
    content = image(np.zeros((300, 1200), np.uint8))
    assert picture(ask(shared_admin, "rendered", content)).size == (512, 128)


def test_the_frames_of_an_instance(shared_admin):
    content = image(np.stack([np.full((4, 4), value, np.uint8) for value in (10, 200)]))
    assert ask(shared_admin, "instance", content).json()["frames"] == 2
    seen = [np.asarray(picture(ask(shared_admin, "rendered", content, frame=n))) for n in (1, 2)]
    assert [int(frame[0, 0]) for frame in seen] == [10, 200]
    assert message(ask(shared_admin, "rendered", content, frame=3))[0] == 400
    wrong = (400, "frame is a number from 1 to 1000000000")
    for frame in (0, -1, "x", "", "1" * 5000):
        assert message(ask(shared_admin, "rendered", content, frame=frame)) == wrong


@pytest.mark.parametrize("name", ["rtplan.dcm", "waveform_ecg.dcm"])
def test_an_instance_without_pixels_says_so(shared_admin, name):
    content = sample(name)
    found = ask(shared_admin, "instance", content).json()
    assert found["frames"] == 0
    assert "no pixel data" in found["reason"]
    status, text = message(ask(shared_admin, "rendered", content))
    assert status == 400
    assert "no pixel data" in text


@pytest.mark.parametrize(
    "name", ["image_dfl.dcm", "MR_small_bigendian.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_RLE.dcm"]
)
def test_an_image_however_it_is_stored(shared_admin, name):
    content = sample(name)
    assert ask(shared_admin, "instance", content).json()["reason"] == ""
    assert isinstance(picture(ask(shared_admin, "rendered", content)), Image.Image)


def test_a_transfer_syntax_that_nobody_knows(shared_admin):
    dataset = read(image(GRADIENT))
    dataset.file_meta.TransferSyntaxUID = "1.2.3.4"
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    content = buffer.getvalue()
    found = ask(shared_admin, "instance", content).json()
    assert (found["frames"], found["reason"]) == (
        0,
        "an image in transfer syntax 1.2.3.4 cannot be rendered",
    )
    assert message(ask(shared_admin, "rendered", content)) == (400, found["reason"])


def test_an_instance_that_there_is_not(shared_admin):
    content = make_dicom()
    for view in ("instance", "rendered"):
        missing = ask(shared_admin, view, content, instance="1.2")
        assert message(missing) == (404, "there is no such instance")
        assert message(ask(shared_admin, view, content, store=""))[0] == 404


def test_of_a_very_long_text_there_is_its_size(shared_admin):
    dataset = read(make_dicom())
    dataset.add_new(0x00081190, "UR", "u" * 70_000)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    found = ask(shared_admin, "instance", buffer.getvalue()).json()
    (shown,) = (one for one in found["attributes"] if one["tag"] == "(0008,1190)")
    assert shown["value"] == "70000 bytes"
