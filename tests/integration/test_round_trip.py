"""The original's sample configurations: STOW, QIDO, WADO and DELETE through a real Orthanc."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from tests.integration.conftest import SERVER, job, query, to_store
from tests.support.orthanc import Orthanc, wait_until


def sample(tmp_path: Path, name: str) -> bytes:
    """A sample image under UIDs of its own, so that no test meets another's."""
    dataset = dcmread(str(get_testdata_file(name)))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, keyword, generate_uid())
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(tmp_path / name, enforce_file_format=True)
    return (tmp_path / name).read_bytes()


def round_trip(orthanc: Orthanc, tmp_path: Path) -> None:
    files = {}
    for name in ("CT_small.dcm", "MR_small_jpeg_ls_lossless.dcm", "reportsi.dcm"):
        content = sample(tmp_path, name)
        files[orthanc.json("POST", "/instances", content)["ID"]] = content
    studies = [
        study["MainDicomTags"]["StudyInstanceUID"]
        for study in orthanc.json("GET", "/studies?expand")
    ]
    assert len(studies) == 3

    sent = job(orthanc, f"{SERVER}/stow", {"Resources": list(files)})
    assert sent["InstancesCount"] == "3"
    found = {study["0020000D"]["Value"][0] for study in query(orthanc)}
    assert set(studies) <= found
    arguments = {"Uri": "/studies", "Arguments": {"StudyInstanceUID": studies[0]}}
    assert len(orthanc.json("POST", f"{SERVER}/qido", arguments)) == 1

    for study in orthanc.json("GET", "/studies"):
        orthanc.json("DELETE", f"/studies/{study}")
    received = job(
        orthanc, f"{SERVER}/retrieve", {"Resources": [{"Study": study} for study in studies]}
    )
    assert received["ReceivedInstancesCount"] == "3"
    for instance, content in files.items():
        assert orthanc.request("GET", f"/instances/{instance}/file").data == content

    for study in studies:
        body = {"Level": "Study", "StudyInstanceUID": study}
        orthanc.json("POST", f"{SERVER}/delete", body)
    wait_until(lambda: not query(orthanc, StudyInstanceUID=studies[0]))


@pytest.mark.parametrize("kind", ["service account", "user file", "user strings"])
def test_the_sample_configurations(orthanc, emulator, sample_accounts, tmp_path, kind):
    instance = orthanc(to_store(sample_accounts[kind], emulator))
    instance.wait_for_servers("my-google")
    shown = instance.servers()["my-google"]
    assert shown["HasDelete"] == "1"
    assert shown["HttpHeaders"] == ["Authorization"]
    assert shown["Url"] == (
        f"{emulator.url}/v1beta1/projects/osimis-test/locations/europe-west2/datasets/test"
        "/dicomStores/dicom/dicomWeb/"
    )
    round_trip(instance, tmp_path)


def test_without_certificate_checks(orthanc, emulator, sample_accounts, tmp_path):
    configuration = to_store(sample_accounts["service account"], emulator, HttpsVerifyPeers=False)
    del configuration["HttpsCACertificates"]
    instance = orthanc(configuration)
    instance.wait_for_servers("my-google")
    assert "HttpsVerifyPeers: certificates are not checked" in instance.log
    round_trip(instance, tmp_path)


def test_another_root_of_the_dicomweb_plugin(orthanc, emulator, sample_accounts):
    configuration = to_store(
        sample_accounts["service account"], emulator, DicomWeb={"Root": "/dw/nested/"}
    )
    instance = orthanc(configuration)
    wait_until(lambda: instance.json("GET", "/dw/nested/servers") == ["my-google"])
    query(instance, server="/dw/nested/servers/my-google")


def test_relative_files_as_the_original_resolves_them(orthanc, emulator):
    """The key in Orthanc's working directory, the authorities beside the configuration."""
    account = {
        "Project": "osimis-test",
        "Location": "europe-west2",
        "Dataset": "test",
        "DicomStore": "dicom",
        "ServiceAccountFile": "dicom-osimis.json",
    }
    configuration = to_store(account, emulator, HttpsCACertificates="ca.pem")
    instance = orthanc(configuration, start=False)
    key = (emulator.credentials / "service-account.json").read_text()
    (instance.folder / "dicom-osimis.json").write_text(key)
    (instance.folder / "ca.pem").write_text(emulator.ca.read_text())
    instance.start()
    instance.wait_for_servers("my-google")
    query(instance)
