"""What is measured of comparisons works at a tiny size, and what it is extrapolated by."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from bench import inventory


def test_every_figure_of_every_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "QUIET_FOR", 1.0)
    with closing(inventory.measurements(tmp_path / "inventory", 0.02)) as measurements:
        for measurement in measurements:
            taken = measurement.round(measurement.subjects)
            assert list(taken) == list(measurement.subjects)
            for figures in taken.values():
                assert figures.keys() == {figure.key for figure in measurement.figures}
                assert all(value > 0 for value in figures.values())


@pytest.mark.parametrize("growth", [0.0, 1e-9])
def test_pages_that_take_longer_and_longer(growth: float) -> None:
    pages = [2000] * 50
    seconds = [page * (1e-4 + growth * (2000 * number + 1000)) for number, page in enumerate(pages)]
    expected = 1e-4 * 1_000_000 + growth * 1_000_000**2 / 2
    assert inventory.extrapolated(seconds, pages, 1_000_000) == pytest.approx(expected)
    assert inventory.extrapolated([*seconds, 0.05], [*pages, 1], 1_000_000) >= expected * 0.9999
    assert inventory.extrapolated([*seconds, 0.05], [*pages, 1], 1_000_000) < 1.01 * expected


def test_pages_that_take_ever_less_time_are_a_straight_line() -> None:
    assert inventory.extrapolated([0.2, 0.1], [1000, 1000], 10_000) == pytest.approx(1.5)
