"""What comes back from a store, by everyone who is measured, and that it is looked at."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from bench.custody import Options
from bench.frame import Measurement, Round
from bench.network import NETWORKS
from bench.retrieve import ROWS, Scene, measurements
from bench.supply import Stored, fill
from bench.workload import Workload
from tests.support.emulator import Emulator

GUIDE = Path(__file__).parents[2] / "docs" / "performance.md"


def measured(folder: Path, name: str, options: Options) -> tuple[Measurement, Round]:
    """One round of a row."""
    with closing(measurements(folder, options)) as rows:
        measurement = next(row for row in rows if row.name == name)
        return measurement, measurement.round(measurement.subjects)


@pytest.mark.parametrize(
    ("name", "scale"), [("retrieve-small-google", 0.02), ("retrieve-giant", 0.0001)]
)
def test_everybody_brings_everything_back(tmp_path: Path, name: str, scale: float) -> None:
    measurement, taken = measured(tmp_path, name, Options(scale=scale))
    assert list(taken) == list(measurement.subjects)
    network = next(row.network for row in ROWS if row.name == name)
    for figures in taken.values():
        assert "missing" not in figures
        assert figures["ended"] >= figures["seconds"] >= network.wait
    assert [subject for subject in taken if "worker" in taken[subject]] == ["orthanc-gcp worker"]


def test_instances_are_divided_where_there_is_one_study(tmp_path: Path) -> None:
    options = Options(0.02, ("DICOMweb plugin, 8 jobs",), NETWORKS["loopback"])
    _, taken = measured(tmp_path, "retrieve-large", options)
    assert "seconds" in taken["DICOMweb plugin, 8 jobs"]


def test_other_bytes_are_no_result(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    emulator = Emulator(tmp_path / "store")
    try:
        workload = Workload(2, 1, 1000)
        stored = fill(emulator, workload)
        assert len({one.study for one in stored}) == len({one.md5 for one in stored}) == 2
        scene = Scene(tmp_path, emulator, workload, NETWORKS["loopback"])
        scene.expect([stored[0], Stored(stored[1].study, "1", "1", "0" * 32)])
        with pytest.raises(RuntimeError, match="other bytes"):
            scene.retrieve("DICOMweb plugin, one job")
    finally:
        emulator.kill()


@pytest.mark.parametrize("subject", ["DICOMweb plugin, one job", "orthanc-gcp worker"])
def test_who_gives_up_has_no_time(tmp_path: Path, subject: str) -> None:
    (tmp_path / "store").mkdir()
    emulator = Emulator(tmp_path / "store")
    try:
        stored = fill(emulator, Workload(1, 1, 1000))
        scene = Scene(tmp_path, emulator, Workload(2, 1, 1000), NETWORKS["loopback"])
        scene.expect([*stored, Stored("2.25.2", "2.25.3", "2.25.4", "")])
        figures = scene.retrieve(subject)
    finally:
        emulator.kill()
    assert figures["missing"] == 1
    assert "seconds" not in figures


def test_the_guide_has_room_for_every_row() -> None:
    guide = GUIDE.read_text()
    for row in ROWS:
        begin, end = f"<!-- {row.name}: begin -->", f"<!-- {row.name}: end -->"
        assert guide.count(begin) == guide.count(end) == 1
        assert guide.index(begin) < guide.index(end)
