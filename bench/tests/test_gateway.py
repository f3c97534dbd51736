"""What the gateway adds is measured beside the search that it makes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from bench.gateway import GATEWAY, SEARCH, measurements

GUIDE = Path(__file__).parents[2] / "docs" / "performance.md"


def test_both_answer_with_everything(tmp_path: Path) -> None:
    guide = GUIDE.read_text()
    with closing(measurements(tmp_path)) as rows:
        for measurement in rows:
            assert guide.count(f"<!-- {measurement.name}: begin -->") == 1
            assert guide.count(f"<!-- {measurement.name}: end -->") == 1
            taken = measurement.round(measurement.subjects)
            for figure in measurement.figures:
                assert taken[SEARCH][figure.key] > 0
                assert taken[GATEWAY][figure.key] > 0
