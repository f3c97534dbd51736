"""Everybody moves everything, and the proxy takes its half a second for each instance."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from bench.move import GATEWAY, PROXY, measurements

GUIDE = Path(__file__).parents[2] / "docs" / "performance.md"


def test_everybody_moves_everything(tmp_path: Path) -> None:
    guide = GUIDE.read_text()
    with closing(measurements(tmp_path, scale=0.04)) as rows:
        for measurement in rows:
            assert guide.count(f"<!-- {measurement.name}: begin -->") == 1
            assert guide.count(f"<!-- {measurement.name}: end -->") == 1
            taken = measurement.round(measurement.subjects)
            assert list(taken) == list(measurement.subjects)
            assert [one for one in taken if "memory" in taken[one]] == [GATEWAY]
            if PROXY in taken:
                assert taken[PROXY]["each"] > 100
