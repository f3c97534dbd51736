"""What takes long, or much: a study of 10,000 instances, an instance of 5 GB."""

# ruff: noqa: S101

from __future__ import annotations

import os
import re
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
import urllib3
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid

from tests.conftest import orthanc
from tests.integration.test_clock import faketime, shift
from tests.integration.test_endurance import asked, go_on, short_lived
from tests.support.mishaps import Patients, wait_truly
from tests.support.site import Site

__all__ = ["asked", "orthanc", "short_lived"]

GIGABYTE = 10**9
FRAGMENT = 1 << 30


def peak(pid: int) -> int:
    """The most memory that a process has had, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) // 1000


def test_a_study_of_ten_thousand_instances(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.wait_for_following()
        patients = Patients(site)
        began = time.monotonic()
        patients.arrive(10_000, size=16)
        received = time.monotonic() - began
        patients.all_confirmed(600)
        confirmed = time.monotonic() - began
        memory = peak(site.workers["worker"].pid)
        print(f"\nreceived {received:.0f} s, confirmed {confirmed:.0f} s, {memory} MB at most")
        assert memory <= 250


def giant(path: Path, size: int) -> str:
    """A file of compressed pixels in fragments, since no length of a single one could say 5 GB."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.Modality = "P", "SM"
    dataset.save_as(path, enforce_file_format=True)
    random = os.urandom(1 << 20)
    with path.open("ab") as file:
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
        file.write(struct.pack("<HHI", 0xFFFE, 0xE000, 0))
        while file.tell() < size:
            file.write(struct.pack("<HHI", 0xFFFE, 0xE000, FRAGMENT))
            for _ in range(FRAGMENT // len(random)):
                file.write(random)
        file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    return str(dataset.SOPInstanceUID)


def available() -> int:
    """Bytes of memory that processes can have."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) * 1000 if found else 0


@pytest.mark.parametrize("size", [5 * GIGABYTE])
def test_a_giant_instance(tmp_path: Path, size: int) -> None:
    if available() < 3.5 * size or shutil.disk_usage(tmp_path).free < 4 * size:
        pytest.skip("Orthanc needs three times an instance's size in memory to receive it")
    file = tmp_path / "giant.dcm"
    instance = giant(file, size)
    with Site(tmp_path) as site:
        site.wait_for_following()
        began = time.monotonic()
        with file.open("rb") as body:
            answer = urllib3.PoolManager(retries=False, timeout=900).request(
                "POST",
                f"{site.orthanc.url}/instances",
                body=body,
                headers={"Content-Length": str(file.stat().st_size)},
            )
        assert answer.status == 200, answer.data
        received = time.monotonic() - began
        site.wait_for(900, confirmed=1)
        confirmed = time.monotonic() - began
        (row,) = site.rows()
        memory = peak(site.workers["worker"].pid)
        print(
            f"\n{row.size_bytes} bytes, received {received:.0f} s, confirmed {confirmed:.0f} s, "
            f"the worker's memory {memory} MB at most"
        )
        assert (row.sop_instance_uid, row.size_bytes) == (instance, file.stat().st_size)
        assert pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID == instance
        (stored,) = (site.emulator.folder / "files").iterdir()
        assert os.system(f"cmp {stored} {file}") == 0  # noqa: S605
        assert memory <= 250


def test_a_loss_is_noticed_though_the_clock_went_back(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    shift(clock, "+0")
    with Site(tmp_path) as site:
        site.wait_for_following()
        site.stop_worker()
        site.start_worker(**faketime(clock))
        site.emulator.switch(faults=[{"method": "POST", "lose": "all", "count": 1}])
        patients = Patients(site)
        patients.arrive(1)
        site.wait_for(acknowledged=1)
        shift(clock, "-2h")
        wait_truly(site, 120, confirmed=1)


def test_tokens_of_five_seconds_for_three_minutes(asked: Any) -> None:
    go_on(asked, 180)
