"""What is measured of ledgers works on both databases: at a tiny size, every figure is there."""

from __future__ import annotations

import pytest

from bench import ledger
from bench.frame import Measurement


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> dict[str, Measurement]:
    monkeypatch.setattr(ledger, "ROWS", (1_000, 2_000))
    monkeypatch.setattr(ledger, "WORKERS", (1, 2))
    monkeypatch.setattr(ledger, "MEASURED", 600)
    return {one.name: one for one in ledger.measurements()}


@pytest.mark.parametrize("kind", ["ledger-sqlite", "ledger-postgresql", "workers"])
def test_every_figure_of_every_subject(measurements: dict[str, Measurement], kind: str) -> None:
    measurement = measurements[f"custody-{kind}"]
    taken = measurement.round(measurement.subjects)
    assert list(taken) == list(measurement.subjects)
    for figures in taken.values():
        assert figures.keys() == {figure.key for figure in measurement.figures}
        assert all(value > 0 for value in figures.values())
