"""A client that nobody here wrote: dicomweb-client, with a bearer token and no other help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import generate_uid

from tests.emulator.client import Client, make_dicom, read, sample

MEGABYTE = 10**6


@pytest.fixture
def web(client: Client) -> Iterator[DICOMwebClient]:
    session = requests.Session()
    authorization = {"Authorization": f"Bearer {client.token}"}
    yield DICOMwebClient(url=client.web, session=session, headers=authorization)
    session.close()


def uids(dataset: Dataset) -> tuple[str, str, str]:
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def put(web: DICOMwebClient, name: str) -> Any:
    dataset = read(sample(name))
    web.store_instances([dataset])
    return dataset


def values(matches: list[dict[str, Any]], keyword: str) -> list[str]:
    return [getattr(Dataset.from_json(match), keyword) for match in matches]


@pytest.fixture
def studies(web: DICOMwebClient) -> list[Dataset]:
    """Three studies of two series each, of one and two instances."""
    made = []
    for number, name in enumerate(("Doe^John", "Doering^Anna", "Roe^Jane")):
        study = {"StudyInstanceUID": generate_uid(), "PatientName": name}
        study |= {"PatientID": f"P{number}", "StudyDate": f"202{number}0229"}
        for modality, count in (("CT", 1), ("MR", 2)):
            series = {**study, "SeriesInstanceUID": generate_uid(), "Modality": modality}
            made += [read(make_dicom(**series)) for _ in range(count)]
    stored = web.store_instances(made)
    assert len(stored.ReferencedSOPSequence) == len(made)
    return made


def test_search_for_studies(web: DICOMwebClient, studies: list[Dataset]) -> None:
    expected = list(dict.fromkeys(dataset.StudyInstanceUID for dataset in studies))
    assert values(web.search_for_studies(), "StudyInstanceUID") == expected
    for filters, wanted in (
        ({"PatientID": "P1"}, expected[1:2]),
        ({"00100020": "P2"}, expected[2:]),
        ({"StudyInstanceUID": expected[0]}, expected[:1]),
        ({"StudyDate": "20200101-20211231"}, expected[:2]),
        ({"PatientName": "Roe^Jane", "PatientID": "P2"}, expected[2:]),
        ({"PatientID": "nobody"}, []),
    ):
        found = web.search_for_studies(search_filters=filters)
        assert values(found, "StudyInstanceUID") == wanted


def test_fuzzy_matching(web: DICOMwebClient, studies: list[Dataset]) -> None:
    search = {"PatientName": "do"}
    assert web.search_for_studies(search_filters=search, fuzzymatching=False) == []
    found = web.search_for_studies(search_filters=search, fuzzymatching=True)
    assert values(found, "PatientName") == ["Doe^John", "Doering^Anna"]


def test_pages(web: DICOMwebClient, studies: list[Dataset]) -> None:
    whole = web.search_for_instances()
    assert len(whole) == len(studies)
    pages = [web.search_for_instances(limit=4, offset=offset) for offset in (0, 4, 8)]
    assert [len(page) for page in pages] == [4, 4, 1]
    assert [match for page in pages for match in page] == whole
    assert web.search_for_instances(limit=2, get_remaining=True) == whole
    assert web.search_for_studies(limit=1, offset=3) == []


def test_fields(web: DICOMwebClient) -> None:
    dataset = put(web, "CT_small.dcm")
    fields = ["StudyDescription", "SeriesNumber", "00280030"]
    (study,) = web.search_for_studies(fields=fields[:1])
    assert Dataset.from_json(study).StudyDescription == dataset.StudyDescription
    (plain,) = web.search_for_series(dataset.StudyInstanceUID)
    (series,) = web.search_for_series(dataset.StudyInstanceUID, fields=fields[1:2])
    assert "00200011" not in plain
    assert Dataset.from_json(series).SeriesNumber == dataset.SeriesNumber
    (instance,) = web.search_for_instances(fields=fields)
    assert Dataset.from_json(instance).PixelSpacing == dataset.PixelSpacing
    with pytest.raises(requests.HTTPError, match="400"):
        web.search_for_studies(fields=["NoSuchAttribute"])


def test_search_for_series_and_instances(web: DICOMwebClient, studies: list[Dataset]) -> None:
    study, series, instance = uids(studies[-1])
    assert len(web.search_for_series()) == 6
    found = web.search_for_series(study, search_filters={"Modality": "MR"})
    assert values(found, "SeriesInstanceUID") == [series]
    assert len(web.search_for_instances(study)) == 3
    assert values(web.search_for_instances(study, series), "SOPInstanceUID")[-1] == instance
    found = web.search_for_instances(search_filters={"SOPInstanceUID": instance})
    assert values(found, "SOPInstanceUID") == [instance]
    assert web.search_for_instances(generate_uid()) == []


def test_retrieve_a_study_a_series_an_instance(web: DICOMwebClient, studies: list[Dataset]) -> None:
    study, series, instance = uids(studies[-1])
    assert web.retrieve_study(study) == studies[-3:]
    assert list(web.iter_study(study)) == studies[-3:]
    assert web.retrieve_series(study, series) == studies[-2:]
    assert list(web.iter_series(study, series)) == studies[-2:]
    assert web.retrieve_instance(study, series, instance) == studies[-1]


def test_transfer_syntaxes(web: DICOMwebClient) -> None:
    dataset = put(web, "JPEG2000.dcm")
    stored = web.retrieve_instance(*uids(dataset))
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.91"
    explicit = (("application/dicom", "1.2.840.10008.1.2.1"),)
    decoded = web.retrieve_instance(*uids(dataset), media_types=explicit)
    assert decoded.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert len(decoded.PixelData) == 1024 * 256 * 2


def test_metadata(web: DICOMwebClient, studies: list[Dataset]) -> None:
    study, series, instance = uids(studies[-1])
    for metadata, count in (
        (web.retrieve_study_metadata(study), 3),
        (web.retrieve_series_metadata(study, series), 2),
        (web.retrieve_instance_metadata(study, series, instance), None),
    ):
        last = metadata if count is None else metadata[-1]
        assert count in (None, len(metadata))
        assert last["00080018"]["Value"] == [instance]
        assert last["00020010"]["Value"] == ["1.2.840.10008.1.2.1"]


def test_bulk_data(web: DICOMwebClient) -> None:
    dataset = put(web, "CT_small.dcm")
    url = web.retrieve_instance_metadata(*uids(dataset))["7FE00010"]["BulkDataURI"]
    for media_types in (
        None,
        ("application/octet-stream",),
        (("application/octet-stream", "*"),),
    ):
        assert web.retrieve_bulkdata(url, media_types=media_types) == [dataset.PixelData]
    assert list(web.iter_bulkdata(url)) == [dataset.PixelData]
    explicit = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
    with pytest.raises(requests.HTTPError, match="406"):
        web.retrieve_bulkdata(url, media_types=explicit)


@pytest.mark.parametrize(
    ("name", "media_type", "syntax"),
    [
        ("JPEG2000.dcm", "image/jp2", "1.2.840.10008.1.2.4.91"),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls", "1.2.840.10008.1.2.4.80"),
        ("MR_small_RLE.dcm", "image/dicom-rle", "1.2.840.10008.1.2.5"),
        ("SC_rgb_rle_2frame.dcm", "image/dicom-rle", "1.2.840.10008.1.2.5"),
        ("SC_rgb_jpeg_gdcm.dcm", "image/jpeg", "1.2.840.10008.1.2.4.70"),
    ],
)
def test_frames_as_they_are_stored(
    web: DICOMwebClient, name: str, media_type: str, syntax: str
) -> None:
    dataset = put(web, name)
    count = int(dataset.get("NumberOfFrames", 1))
    stored = list(generate_frames(dataset.PixelData, number_of_frames=count))
    wanted = [1, count] if count > 1 else [1]
    for media_types in (
        ((media_type, syntax),),
        (media_type,),
        (("application/octet-stream", "*"),),
    ):
        got = web.retrieve_instance_frames(*uids(dataset), wanted, media_types=media_types)
        assert got == [stored[number - 1] for number in wanted]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_rle_2frame.dcm"])
def test_frames_decoded(web: DICOMwebClient, name: str) -> None:
    dataset = put(web, name)
    count = int(dataset.get("NumberOfFrames", 1))
    pixels = dataset.pixel_array.reshape(count, -1)
    numbers = list(range(count, 0, -1))
    expected = [pixels[number - 1].tobytes() for number in numbers]
    for media_types in (None, ("application/octet-stream",)):
        got = web.retrieve_instance_frames(*uids(dataset), numbers, media_types=media_types)
        assert got == expected
        streamed = web.iter_instance_frames(*uids(dataset), numbers, media_types=media_types)
        assert list(streamed) == expected


@pytest.mark.parametrize("sizes", [(2,), (MEGABYTE // 2, MEGABYTE), (3 * MEGABYTE, 2, 7)])
def test_store_instances(web: DICOMwebClient, sizes: tuple[int, ...]) -> None:
    """Beyond a megabyte the client sends chunks, without a length."""
    study = generate_uid()
    made = [read(make_dicom(bytes(size + size % 2), StudyInstanceUID=study)) for size in sizes]
    answer = web.store_instances(made, study_instance_uid=study)
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
        dataset.SOPInstanceUID for dataset in made
    ]
    assert answer.RetrieveURL == f"{web.base_url}/studies/{study}"
    assert web.retrieve_study(study) == made


def test_addresses_are_complete_though_the_client_leaves_out_the_port(client: Client) -> None:
    _, _, port = client.url.rpartition(":")
    for host, expected in (
        ("127.0.0.1", f"127.0.0.1:{port}"),
        ("localhost", f"localhost:{port}"),
        ("healthcare.example", "healthcare.example"),
        ("healthcare.example:8443", "healthcare.example:8443"),
    ):
        answer = client.store(make_dicom(), host=host).json()
        assert answer["00081190"]["Value"][0].startswith(f"http://{expected}/v1/")


def test_a_conflict_is_an_error(web: DICOMwebClient) -> None:
    dataset = read(make_dicom())
    web.store_instances([dataset])
    with pytest.raises(requests.HTTPError) as caught:
        web.store_instances([dataset])
    assert caught.value.response.status_code == 409
    assert "already exists" in caught.value.response.text


def test_delete(web: DICOMwebClient, studies: list[Dataset]) -> None:
    study, series, instance = uids(studies[-1])
    web.delete_instance(study, series, instance)
    assert len(web.search_for_instances(study)) == 2
    web.delete_series(study, series)
    assert len(web.search_for_instances(study)) == 1
    web.delete_study(study)
    assert len(web.search_for_studies()) == 2
    for delete in (
        lambda: web.delete_instance(study, series, instance),
        lambda: web.delete_series(study, series),
        lambda: web.delete_study(study),
    ):
        with pytest.raises(requests.HTTPError, match="403"):
            delete()


def test_a_token_that_is_none(client: Client) -> None:
    with requests.Session() as session:
        web = DICOMwebClient(url=client.web, session=session)
        with pytest.raises(requests.HTTPError, match="401"):
            web.search_for_studies()
