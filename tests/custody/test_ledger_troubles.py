"""The ledger's disk is full: work stands still, and goes on when there is room."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.mishaps import Patients
from tests.support.orthanc import wait_until
from tests.support.site import Site


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """A file that leaves no room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filler


def test_the_disk_is_full(tmp_path, small_disk):
    with Site(tmp_path, section={"Database": f"sqlite:///{small_disk / 'ledger.sqlite'}"}) as site:
        patients = Patients(site)
        site.wait_for_following()
        site.emulator.switch(bandwidth=100_000)  # some are on their way when it happens
        patients.arrive(10)
        wait_until(lambda: "sending" in site.states(), 20)
        for _ in range(3):
            filler = fill(small_disk)
            patients.arrive(40, size=16)
            wait_until(lambda: site.log().count("full") > 0, 30, site.log)
            filler.unlink()
            patients.arrive(5, size=16)
        site.emulator.switch(bandwidth=None)
        patients.all_confirmed()
        assert site.workers["worker"].poll() is None
