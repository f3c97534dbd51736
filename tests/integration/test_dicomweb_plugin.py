"""Every route of Orthanc's own DICOMweb client against the emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from tests.emulator.client import Client, path_of, read
from tests.integration.conftest import SERVER, job, to_store
from tests.support.emulator import Emulator
from tests.support.orthanc import Orthanc

SAMPLES = {
    "CT_small.dcm": "1.2.840.10008.1.2.1",
    "MR_small_implicit.dcm": "1.2.840.10008.1.2",
    "MR_small_bigendian.dcm": "1.2.840.10008.1.2.2",
    "image_dfl.dcm": "1.2.840.10008.1.2.1.99",
    "SC_rgb_jpeg_gdcm.dcm": "1.2.840.10008.1.2.4.70",
    "MR_small_jpeg_ls_lossless.dcm": "1.2.840.10008.1.2.4.80",
    "JPEG2000.dcm": "1.2.840.10008.1.2.4.91",
    "MR_small_RLE.dcm": "1.2.840.10008.1.2.5",
    "reportsi.dcm": "1.2.840.10008.1.2.1",
}


@pytest.fixture
def google(emulator: Emulator) -> Iterator[Client]:
    """The store as somebody else sees it, who uses no Orthanc."""
    client = Client(emulator.url, emulator.credentials, ca_certs=str(emulator.ca))
    yield client
    client.pool.clear()


def stored(google: Client, content: bytes) -> bytes | None:
    """Return what the store has under the UIDs of a file; nothing when it has nothing."""
    answer = google.get(path_of(read(content)), "application/dicom; transfer-syntax=*")
    assert answer.status in (200, 403)
    return answer.data if answer.status == 200 else None


@pytest.fixture
def connected(
    orthanc: Callable[..., Orthanc], emulator: Emulator, sample_accounts: dict[str, Any]
) -> Orthanc:
    instance = orthanc(to_store(sample_accounts["service account"], emulator))
    instance.wait_for_servers("my-google")
    return instance


def make_study(folder: Path, names: list[str]) -> list[bytes]:
    """Return samples as one study, each a series of its own."""
    study = generate_uid()
    files = []
    for number, name in enumerate(names):
        dataset = dcmread(str(get_testdata_file(name, download=False)))
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, generate_uid()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.PatientID, dataset.PatientName = study[-16:], "Connected^Client"
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        files.append((folder / f"{number}.dcm").read_bytes())
    return files


def put(orthanc: Orthanc, files: list[bytes]) -> list[str]:
    """Store files in Orthanc; return its names for them."""
    return [orthanc.json("POST", "/instances", content)["ID"] for content in files]


def send(orthanc: Orthanc, resources: list[str]) -> Any:
    return job(orthanc, f"{SERVER}/stow", {"Resources": resources})


def forget(orthanc: Orthanc) -> None:
    for study in orthanc.json("GET", "/studies"):
        orthanc.json("DELETE", f"/studies/{study}")


def qido(orthanc: Orthanc, uri: str, **arguments: str) -> list[str]:
    """Return the last UID of each match."""
    body = {"Uri": uri, "Arguments": arguments}
    matches = orthanc.json("POST", f"{SERVER}/qido", body)
    tags = ("00080018", "0020000E", "0020000D")
    return [next(match[tag]["Value"] for tag in tags if tag in match) for match in matches]


def test_a_study_in_every_transfer_syntax(
    connected: Orthanc, google: Client, tmp_path: Path
) -> None:
    files = make_study(tmp_path, list(SAMPLES))
    assert [read(file).file_meta.TransferSyntaxUID for file in files] == list(SAMPLES.values())
    names = put(connected, files)
    (study,) = connected.json("GET", "/studies")
    count = str(len(files))
    assert send(connected, [study])["InstancesCount"] == count
    for file in files:
        assert stored(google, file) == file
    uid = read(files[0]).StudyInstanceUID
    series = [{"Study": uid, "Series": read(file).SeriesInstanceUID} for file in files]
    for route, body in (
        ("retrieve", {"Resources": [{"Study": uid}]}),
        ("retrieve", {"Resources": series}),
        ("wado", {"Uri": f"/studies/{uid}"}),
    ):
        forget(connected)
        assert job(connected, f"{SERVER}/{route}", body)["ReceivedInstancesCount"] == count
        for name, file in zip(names, files, strict=True):
            assert connected.request("GET", f"/instances/{name}/file").data == file


def test_searches(connected: Orthanc, tmp_path: Path) -> None:
    files = make_study(tmp_path, ["CT_small.dcm", "MR_small.dcm"])
    send(connected, put(connected, files))
    images = [read(file) for file in files]
    study, patient = images[0].StudyInstanceUID, images[0].PatientID
    series = [image.SeriesInstanceUID for image in images]
    instances = [image.SOPInstanceUID for image in images]
    assert qido(connected, "/studies", PatientID=patient) == [study]
    name = {"PatientName": "client", "fuzzymatching": "true", "StudyInstanceUID": study}
    assert qido(connected, "/studies", **name) == [study]
    assert qido(connected, f"/studies/{study}/series") == series
    assert qido(connected, f"/studies/{study}/series", Modality="MR") == series[1:]
    assert qido(connected, "/instances", PatientID=patient) == instances
    assert qido(connected, "/instances", PatientID=patient, limit="1", offset="1") == instances[1:]
    assert qido(connected, f"/studies/{study}/series/{series[0]}/instances") == instances[:1]
    body = {"Uri": "/studies", "Arguments": {"SOPClassUID": "1.2"}}
    assert connected.request("POST", f"{SERVER}/qido", body).status == 400


def test_deletion_at_every_level(connected: Orthanc, google: Client, tmp_path: Path) -> None:
    files = make_study(tmp_path, ["CT_small.dcm", "MR_small.dcm", "reportsi.dcm"])
    send(connected, put(connected, files))
    for level, file in zip(("Instance", "Series", "Study"), files, strict=True):
        image = read(file)
        body = {
            "Level": level,
            "StudyInstanceUID": image.StudyInstanceUID,
            "SeriesInstanceUID": image.SeriesInstanceUID,
            "SOPInstanceUID": image.SOPInstanceUID,
        }
        assert stored(google, file) == file
        connected.json("POST", f"{SERVER}/delete", body)
        assert stored(google, file) is None
    refused = connected.request("POST", f"{SERVER}/delete", body)
    assert refused.status >= 400


def test_a_conflict_in_the_middle(connected: Orthanc, google: Client, tmp_path: Path) -> None:
    """Orthanc sends them all in one request, and takes the refusal of one for that of all."""
    files = make_study(tmp_path, ["CT_small.dcm", "MR_small.dcm", "reportsi.dcm"])
    other = files[1][:-1] + bytes([files[1][-1] ^ 1])
    assert google.store(other).status == 200
    names = put(connected, files)
    with pytest.raises(AssertionError, match="'Failure' == 'Success'"):
        send(connected, names)
    assert [stored(google, file) for file in files] == [files[0], other, files[2]]
    with pytest.raises(AssertionError, match="'Failure' == 'Success'"):
        send(connected, [names[0], names[2]])  # what is there already is refused, too
