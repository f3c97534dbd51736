"""WADO-RS: what comes back, in which transfer syntax, in which wrapping, with which status.

The statuses are those of the DICOM conformance statement of the Healthcare API.

| status | meaning | where it is tested |
|---|---|---|
| 200 | | here, for every resource |
| 400 | a request that this resource is not made for, such as one for absent pixels | here |
| 401 | no credential, or a bad one | here; its forms: test_authorization |
| 403 | no access, or not there | here; permissions: test_iam |
| 406 | no supported media type | here |
| 429 | quota exceeded | here, on demand; more of it: test_traffic |
| 503 | unavailable, or not done in time | here, on demand; more of it: test_faults |
"""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import (
    AS_STORED,
    DICOM_JSON,
    MULTIPART,
    Client,
    make_dicom,
    path_of,
    read,
    sample,
    split,
)
from tests.emulator.contents import LARGE
from tests.emulator.raw_files import raw_file

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
J2K = "1.2.840.10008.1.2.4.91"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
SINGLE = "application/dicom; transfer-syntax=*"
RESOURCES = [
    "/studies/{0}",
    "/studies/{0}/series/{1}",
    "/studies/{0}/series/{1}/instances/{2}",
    "/studies/{0}/metadata",
    "/studies/{0}/series/{1}/metadata",
    "/studies/{0}/series/{1}/instances/{2}/metadata",
    "/studies/{0}/series/{1}/instances/{2}/rendered",
    "/studies/{0}/series/{1}/instances/{2}/frames/1",
    "/studies/{0}/series/{1}/instances/{2}/frames/1/rendered",
    "/studies/{0}/series/{1}/instances/{2}/bulkdata/7FE00010",
]
of_every_resource = pytest.mark.parametrize("resource", RESOURCES)


def put(client: Client, name: str) -> Any:
    content = sample(name)
    assert client.store(content).status == 200
    return read(content)


def test_a_study_comes_back_byte_for_byte(client: Client) -> None:
    study = generate_uid()
    files = [make_dicom(bytes(n), StudyInstanceUID=study) for n in (2, 300_000, 1_000_002)]
    client.store(*files)
    response = client.get(f"/studies/{study}", AS_STORED)
    assert response.status == 200
    assert response.headers["content-type"].startswith(f"{MULTIPART}; boundary=")
    assert split(response) == [(f"application/dicom; transfer-syntax={EXPLICIT}", f) for f in files]


def test_a_series_and_an_instance(client: Client) -> None:
    content = sample("JPEG2000.dcm")
    client.store(content, make_dicom())
    path = path_of(read(content))
    part = ("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.91", content)
    for resource in (path, path.partition("/instances")[0]):
        assert split(client.get(resource, AS_STORED)) == [part]


def test_one_instance_without_multipart(client: Client) -> None:
    content = sample("CT_small.dcm")
    client.store(content)
    response = client.get(path_of(read(content)), SINGLE)
    assert response.data == content
    assert response.headers["content-length"] == str(len(content))
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; transfer-syntax=*; type="application/dicom"',
        "multipart/related; type=application/dicom; transfer-syntax=*",
        'text/html, multipart/related; type="application/dicom"; transfer-syntax=*; q=0.5',
        f'image/jpeg, {DICOM_JSON}, {MULTIPART}; transfer-syntax="*"',
    ],
)
def test_ways_to_ask_for_what_is_stored(client: Client, accept: str) -> None:
    dataset = put(client, "JPEG2000.dcm")
    ((content_type, content),) = split(client.get(path_of(dataset), accept))
    assert content_type.endswith("1.2.4.91")
    assert content == sample("JPEG2000.dcm")


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "rtdose_expb.dcm",
        "JPEG2000.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "image_dfl.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_default_is_explicit_little_endian(client: Client, name: str) -> None:
    stored = put(client, name)
    for accept in ("", "*/*", MULTIPART, f"{MULTIPART}; transfer-syntax={EXPLICIT}"):
        ((content_type, content),) = split(client.get(path_of(stored), accept))
        assert content_type == f"application/dicom; transfer-syntax={EXPLICIT}"
    got = read(content)
    assert got.file_meta.TransferSyntaxUID == EXPLICIT
    assert got.SOPInstanceUID == stored.SOPInstanceUID
    assert np.array_equal(got.pixel_array, stored.pixel_array)


@pytest.mark.parametrize("vr", ["OD", "OF", "OL", "OV", "OW"])
def test_values_of_big_endian_files_are_turned_round(client: Client, vr: str) -> None:
    width = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2}[vr]
    dataset = read(sample("MR_small_bigendian.dcm"))
    item = Dataset()
    item.add_new(0x00091001, vr, np.arange(100, dtype=f">u{width}").tobytes())
    dataset.SourceImageSequence = [item]
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert client.store(buffer.getvalue()).status == 200
    got = read(client.get(path_of(dataset), "application/dicom").data)
    value = got.SourceImageSequence[0][0x00091001].value
    assert np.frombuffer(value, f"<u{width}").tolist() == list(range(100))


@pytest.mark.parametrize("wanted", [IMPLICIT, DEFLATED])
def test_other_native_syntaxes(client: Client, wanted: str) -> None:
    stored = put(client, "MR_small.dcm")
    accept = f"application/dicom; transfer-syntax={wanted}"
    got = read(client.get(path_of(stored), accept).data)
    assert got.file_meta.TransferSyntaxUID == wanted
    assert got.PixelData == stored.PixelData


@pytest.mark.parametrize(
    ("accept", "sent"),
    [
        (f"{MULTIPART}, {MULTIPART}; transfer-syntax={J2K}", J2K),
        (f"{MULTIPART}; transfer-syntax={RLE}, {AS_STORED}, {MULTIPART}", J2K),
        (f"application/dicom, application/dicom; transfer-syntax={J2K}", J2K),
        (f"{MULTIPART}; transfer-syntax={RLE}, {AS_STORED}; q=0.9", RLE),
        (f"{AS_STORED}; q=0.1, {MULTIPART}; q=0.2", EXPLICIT),
        (f"{MULTIPART}; transfer-syntax={RLE}, {MULTIPART}", RLE),
    ],
)
def test_of_what_is_wanted_equally_the_stored_form_is_sent(
    client: Client, accept: str, sent: str
) -> None:
    stored = put(client, "JPEG2000.dcm")
    response = client.get(path_of(stored), accept)
    content = split(response)[0][1] if accept.startswith(MULTIPART) else response.data
    assert read(content).file_meta.TransferSyntaxUID == sent
    assert (content == sample("JPEG2000.dcm")) is (sent == J2K)


def mixed_study(client: Client) -> tuple[str, dict[str, bytes]]:
    """Store a study with an image of each kind, and objects without pixels; return its path."""
    study, files = generate_uid(), {}
    for name in (
        *("reportsi.dcm", "waveform_ecg.dcm", "rtplan.dcm", "CT_small.dcm"),
        *("MR_small_bigendian.dcm", "JPEG2000.dcm", "image_dfl.dcm", "SC_rgb_rle_2frame.dcm"),
    ):
        dataset = read(sample(name))
        dataset.StudyInstanceUID = study
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        files[dataset.SOPInstanceUID] = buffer.getvalue()
        assert client.store(buffer.getvalue()).status == 200
    return f"/studies/{study}", files


@pytest.mark.parametrize("wanted", [EXPLICIT, IMPLICIT, DEFLATED, RLE, JPEG_2000_LOSSLESS])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_study_of_images_and_of_other_objects(client: Client, wanted: str) -> None:
    path, files = mixed_study(client)
    parts = split(client.get(path, f"{MULTIPART}; transfer-syntax={wanted}"))
    assert len(parts) == len(files)
    for label, content in parts:
        got = read(content)
        stored = read(files[got.SOPInstanceUID])
        assert label == f"application/dicom; transfer-syntax={got.file_meta.TransferSyntaxUID}"
        is_image = "PixelData" in stored
        compressed = wanted in (RLE, JPEG_2000_LOSSLESS)
        expected = EXPLICIT if compressed and not is_image else wanted
        assert got.file_meta.TransferSyntaxUID == expected
        if is_image:
            assert np.array_equal(got.pixel_array, stored.pixel_array)
        else:
            assert [element.tag for element in got] == [element.tag for element in stored]


def test_a_study_whose_images_are_stored_in_what_nothing_here_writes(client: Client) -> None:
    study = generate_uid()
    for name in ("MR_small_jpeg_ls_lossless.dcm", "reportsi.dcm", "test-SR.dcm"):
        dataset = read(sample(name))
        dataset.StudyInstanceUID = study
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        assert client.store(buffer.getvalue()).status == 200
    jpeg_ls = "1.2.840.10008.1.2.4.80"
    accept = f"{MULTIPART}; transfer-syntax={jpeg_ls}"
    labels = [label for label, _ in split(client.get(f"/studies/{study}", accept))]
    other = f"application/dicom; transfer-syntax={EXPLICIT}"
    assert labels == [f"application/dicom; transfer-syntax={jpeg_ls}", other, other]
    # One image that cannot be had like that is enough.
    client.store(make_dicom(StudyInstanceUID=study))
    assert client.get(f"/studies/{study}", accept).status == 406
    assert client.get(f"/studies/{study}", "image/jpeg").status == 406


def test_each_instance_of_a_study_is_sent_as_it_is_stored_if_that_is_wanted(
    client: Client,
) -> None:
    path, files = mixed_study(client)
    syntaxes = {str(read(content).file_meta.TransferSyntaxUID) for content in files.values()}
    nobody_can_ask_for = "1.2.840.10008.1.2.2"
    wanted = [RLE, *syntaxes - {RLE, nobody_can_ask_for}]
    accept = ", ".join(f"{MULTIPART}; transfer-syntax={syntax}" for syntax in wanted)
    for label, content in split(client.get(path, accept)):
        stored = files[read(content).SOPInstanceUID]
        syntax = read(stored).file_meta.TransferSyntaxUID
        if syntax == nobody_can_ask_for:
            assert label.endswith(f"={RLE}")
        else:
            assert (label, content) == (f"application/dicom; transfer-syntax={syntax}", stored)


@pytest.mark.parametrize(
    "accept", ["application/dicom", f"application/dicom; transfer-syntax={IMPLICIT}"]
)
@pytest.mark.parametrize("says", [EXPLICIT, IMPLICIT, JPEG_2000_LOSSLESS])
@pytest.mark.filterwarnings("ignore:Expected (im|ex)plicit VR")
def test_a_data_set_that_is_not_in_the_syntax_it_says(
    client: Client, says: str, accept: str
) -> None:
    is_jpeg = says == JPEG_2000_LOSSLESS
    expected = read(sample("MR_small_jp2klossless.dcm" if is_jpeg else "MR_small.dcm"))
    dataset = read(sample("MR_small_jp2klossless.dcm" if is_jpeg else "MR_small.dcm"))
    dataset.file_meta.TransferSyntaxUID = UID(says)
    dataset.ReferencedImageSequence = [Dataset(), Dataset()]
    dataset.ReferencedImageSequence[1].ReferencedFrameNumber = 7
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=says != IMPLICIT, little_endian=True, force_encoding=True)
    assert client.store(buffer.getvalue()).status == 200
    path = path_of(dataset)
    got = read(client.get(path, accept).data)
    assert np.array_equal(got.pixel_array, expected.pixel_array)
    assert got.ReferencedImageSequence[1].ReferencedFrameNumber == 7
    ((_, frame),) = split(client.get(f"{path}/frames/1"))
    assert frame == expected.pixel_array.tobytes()
    (metadata,) = json.loads(client.get(f"{path}/metadata").data)
    assert metadata["00080060"] == {"vr": "CS", "Value": ["MR"]}
    assert metadata["00080018"]["Value"] == [dataset.SOPInstanceUID]
    assert metadata["00081140"]["Value"][1]["00081160"]["Value"] == [7]


@pytest.mark.parametrize(
    "accept",
    [
        '"application/dicom; transfer-syntax=*"',
        "image/jpeg",
        'multipart/related; type="image/jpeg"',
        f"{MULTIPART}; transfer-syntax=1.2.3",
        # It is a syntax that Google knows, but nothing here writes it.
        f"{MULTIPART}; transfer-syntax=1.2.840.10008.1.2.4.80",
    ],
)
def test_not_acceptable(client: Client, accept: str) -> None:
    stored = put(client, "CT_small.dcm")
    response = client.get(path_of(stored), accept)
    assert response.status == 406
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    expected = f"no supported media type found in [{accept}], accept-header must include one of "
    assert response.data.decode().startswith(expected)


def test_single_parts_are_for_instances_only(client: Client) -> None:
    stored = put(client, "CT_small.dcm")
    assert client.get(f"/studies/{stored.StudyInstanceUID}", SINGLE).status == 406


@pytest.mark.parametrize("missing", [1, 4, 5, 8, 9, 12, 15, 16])
def test_pixel_data_of_which_not_even_the_head_is_there(client: Client, missing: int) -> None:
    """A store takes them: it reads what comes before."""
    content = raw_file(transfer_syntax=b"1.2.840.10008.1.2.4.100")[:-missing]
    assert client.store(content).status == 200
    path = "/studies/1.2/series/1.2.3/instances/1.2.3.4"
    assert client.get(path, AS_STORED).status == 200
    other = client.get(path, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    assert other.status == (406 if missing <= 8 else 200)  # of less than a head, there is nothing
    for asked in ("/metadata", "/frames/1", "/rendered", "/bulkdata/7FE00010"):
        assert client.get(path + asked).status in {200, 400, 403, 406}
    url = f"{client.web.replace('/v1/', '/v1beta1/')}{path}/metadata"
    change = {"op": "add", "path": "/00100020", "value": {"vr": "LO", "Value": ["1"]}}
    assert client.request("PATCH", url, json.dumps([change])).status == 200


def test_an_image_that_cannot_be_decoded(client: Client) -> None:
    broken = sample("JPEG2000.dcm").replace(b"\xff\x4f\xff\x51", b"\0" * 4)
    assert client.store(broken).status == 200
    response = client.get(path_of(read(sample("JPEG2000.dcm"))))
    assert response.status == 400
    assert response.data.startswith(b"the instance cannot be transcoded")
    assert client.get(path_of(read(sample("JPEG2000.dcm"))), SINGLE).data == broken


@pytest.mark.parametrize(
    "accept",
    [
        "",
        DICOM_JSON,
        "application/json",
        f"{DICOM_JSON},{MULTIPART}",
        f"{DICOM_JSON}; transfer-syntax=*",
    ],
)
def test_metadata(client: Client, accept: str) -> None:
    study = generate_uid()
    files = [read(make_dicom(StudyInstanceUID=study)) for _ in range(3)]
    client.store(*(make_dicom(**_values(file)) for file in files))
    instance = path_of(files[1])
    for path, count in (
        (f"/studies/{study}", 3),
        (instance.partition("/instances")[0], 1),
        (instance, 1),
    ):
        response = client.get(f"{path}/metadata", accept)
        assert (response.status, response.headers["content-type"]) == (200, DICOM_JSON)
        metadata = json.loads(response.data)
        assert len(metadata) == count
    assert metadata[0]["00020010"] == {"vr": "UI", "Value": [EXPLICIT]}
    assert metadata[0]["00080018"]["Value"] == [files[1].SOPInstanceUID]
    assert metadata[0]["7FE00010"] == {
        "vr": "OB",
        "BulkDataURI": f"{client.web}{instance}/bulkdata/7FE00010",
    }


def _values(dataset: Any) -> dict[str, str]:
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return {name: str(dataset[name].value) for name in names}


@pytest.mark.parametrize("suffix", ["", "/metadata"])
def test_what_is_not_there(client: Client, suffix: str) -> None:
    dataset = put(client, "CT_small.dcm")
    path = path_of(dataset)
    for absent in ("/studies/1.2.3", path[:-1], path.replace("/series/", "/series/9")):
        response = client.get(absent + suffix)
        assert response.status == 403
        assert absent in json.loads(response.data)["error"]["message"]


def test_a_client_that_leaves_is_not_served_to_the_end(own_client: Client) -> None:
    content = make_dicom(bytes(50_000_000))
    own_client.store(content)
    headers = {"Authorization": f"Bearer {own_client.token}", "Accept": SINGLE}
    url = own_client.web + path_of(read(content))
    response = own_client.pool.request("GET", url, headers=headers, preload_content=False)
    assert response.read(1000) == content[:1000]
    response.close()
    me, deadline = psutil.Process(), time.monotonic() + 10
    while any("files" in Path(file.path).parts for file in me.open_files()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_file_that_vanishes_while_a_study_is_sent(own_client: Client, tmp_path: Path) -> None:
    client = own_client
    study = generate_uid()
    files = [make_dicom(bytes([n]) * LARGE, StudyInstanceUID=study) for n in range(2)]
    client.store(*files)
    for path in (tmp_path / "data" / "files").iterdir():
        if path.read_bytes() == files[1]:
            path.unlink()
    assert [content for _, content in split(client.get(f"/studies/{study}", AS_STORED))] == files[
        :1
    ]
    assert len(json.loads(client.get(f"/studies/{study}/metadata").data)) == 1


@of_every_resource
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_what_is_there_is_200(client: Client, resource: str, version: str) -> None:
    url = client.web.replace("/v1/", f"/{version}/") + stored(client, resource)
    response = client.get(url)
    assert response.status == 200
    assert response.data


@of_every_resource
def test_without_a_good_token_it_is_401(client: Client, resource: str) -> None:
    url = client.web + stored(client, resource)
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        response = client.pool.request("GET", url, headers=headers)
        assert response.status == 401
        assert response.headers["www-authenticate"].startswith("Bearer realm=")


@of_every_resource
def test_what_is_not_there_is_403(client: Client, resource: str) -> None:
    stored(client, resource)
    response = client.get(resource.format("1.2", "1.3", "1.4"))
    assert response.status == 403
    assert response.json()["error"]["status"] == "PERMISSION_DENIED"


@of_every_resource
@pytest.mark.parametrize("accept", ["text/html", 'multipart/related; type="video/mp4"'])
def test_a_type_that_it_does_not_come_in_is_406(client: Client, resource: str, accept: str) -> None:
    response = client.get(stored(client, resource), accept)
    assert response.status == 406
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    start = f"no supported media type found in [{accept}], accept-header must include one of "
    assert response.data.decode().startswith(start)


@pytest.mark.parametrize(
    ("suffix", "accept"),
    [
        ("/rendered", ""),
        ("/frames/1", ""),
        ("/frames/1", 'multipart/related; type="image/png"'),
        ("/frames/1/rendered", ""),
    ],
)
def test_pixels_that_are_not_there_are_400(client: Client, suffix: str, accept: str) -> None:
    content = sample("rtplan.dcm")
    assert client.store(content).status == 200
    response = client.get(path_of(read(content)) + suffix, accept)
    assert response.status == 400
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert b"no pixel data" in response.data


@of_every_resource
def test_on_demand_it_is_429_or_503(own_client: Client, emulator: Emulator, resource: str) -> None:
    path = stored(own_client, resource)
    emulator.fault_settings.change(faults=[{"method": "GET", "status": 503, "count": 1}])
    assert own_client.get(path).status == 503
    emulator.fault_settings.change(faults=[], quota={"requestsPerMinute": 1})
    assert [own_client.get(path).status for _ in range(2)] == [200, 429]


def stored(client: Client, resource: str) -> str:
    """Store an instance, and return the path of a resource of it."""
    content = sample("CT_small.dcm")
    assert client.store(content).status == 200
    dataset = read(content)
    return resource.format(
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    )
