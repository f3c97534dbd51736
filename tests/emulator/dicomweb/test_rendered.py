"""WADO-RS rendered: formats, frames, parameters and refusals."""

from __future__ import annotations

import io

import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session
from PIL import Image
from pydicom.uid import UID

from tests.emulator.client import Client, make_dicom, read, sample, split
from tests.emulator.images import GRADIENT, JPEG, PNG, image, picture, put


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
        (image(np.zeros((1, 65535), np.uint8)), "the image cannot be encoded"),
        (image(GRADIENT, Rows=5000), "one of the frame indexes is not valid"),
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
    assert (response.status, response.data) == (400, b"one of the frame indexes is not valid")


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
