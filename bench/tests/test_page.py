"""What the page costs is measured at a tiny size: every figure is there, and has its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import page

GUIDE = Path(__file__).parents[2] / "docs" / "performance.md"


def test_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": (1_000, 2_000), "OPENED": 2, "APART": 0.0}.items():
        monkeypatch.setattr(page, name, value)
    for name, value in {"WINDOWS": 1, "IDLE": 1.0, "SETTLE": 0.0}.items():
        monkeypatch.setattr(page, name, value)
    measurement = page.measurement(tmp_path)
    taken = measurement.round(measurement.subjects)
    for figures in taken.values():
        assert figures.keys() == {figure.key for figure in measurement.figures}
        assert 0 < figures["paint"] <= figures["longest"]
        assert figures["alone"] > 0
    assert GUIDE.read_text().count(f"<!-- {measurement.name}: begin -->") == 1
