"""The ledger's disk is full: work stands still, and goes on when there is room."""

from __future__ import annotations

from pathlib import Path

from tests.support.disks import small_disk
from tests.support.mishaps import Patients
from tests.support.orthanc import wait_until
from tests.support.site import Site


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


def test_the_disk_is_full(tmp_path):
    with small_disk(tmp_path / "disk", "4m") as disk:
        goes_on_when_there_is_room(tmp_path, disk)


def goes_on_when_there_is_room(tmp_path, disk):
    with Site(tmp_path, section={"Database": f"sqlite:///{disk / 'ledger.sqlite'}"}) as site:
        patients = Patients(site)
        site.wait_for_following()
        site.emulator.switch(bandwidth=100_000)  # some are on their way when it happens
        patients.arrive(10)
        wait_until(lambda: "sending" in site.states(), 20)
        for _ in range(3):
            filler = fill(disk)
            patients.arrive(40, size=16)
            wait_until(lambda: site.log().count("full") > 0, 30, site.log)
            filler.unlink()
            patients.arrive(5, size=16)
        site.emulator.switch(bandwidth=None)
        patients.all_confirmed()
        assert site.workers["worker"].poll() is None
