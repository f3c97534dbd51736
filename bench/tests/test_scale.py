"""The simulation of many terabytes: against what was measured, and what it does by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.custody_rows import SMALL, THOUSAND, WORKER
from bench.network import GOOGLE, Network
from bench.scale import (
    BEGIN,
    END,
    MOST_CONNECTIONS,
    PAGE,
    RESULTS,
    Costs,
    Plan,
    Workers,
    estimate,
    measured_costs,
    median_of,
    refresh,
    tables,
)
from bench.workload import Workload
from orthanc_gcp.configuration.option_types import CONNECTIONS

AGREES = 0.4
"""The measured transfers share two cores with Orthanc, proxy and emulator; the simulated do not."""
FREE = Costs(0.0, 0.0, 0.0)
MILLION = Plan(1_000_000, 1_000_000)


@pytest.mark.parametrize(
    ("measurement", "workload"),
    [("custody-large-google", THOUSAND), ("custody-small-google", SMALL)],
)
def test_it_agrees_with_what_was_measured(measurement: str, workload: Workload) -> None:
    if not (RESULTS / f"{measurement}.json").exists():
        pytest.skip(f"{measurement} was not measured yet")
    plan = Plan(workload.total, workload.pixels)
    simulated = estimate(plan, Workers(measured_costs())).seconds
    measured = median_of(RESULTS, measurement, "seconds", WORKER)
    assert simulated == pytest.approx(measured, rel=AGREES)


def test_a_single_connection_is_bytes_and_waits() -> None:
    network = Network(0.1, 1_000_000, first_byte=0.4)
    workers = Workers(FREE, connections=1, network=network)
    plan = Plan(16, 500_000, batch_bytes=2_000_000)
    assert estimate(plan, workers).seconds == pytest.approx(8 + 4 * 0.5 + 2 * 0.5)
    slow = replace(workers, network=replace(network, instance=0.25))
    assert estimate(plan, slow).seconds == pytest.approx(8 + 4 * (0.5 + 0.75) + 2 * 0.5)
    assert estimate(plan, slow).bound == "connections"
    hasty = replace(workers, network=replace(network, first_byte=4.0))
    assert estimate(plan, hasty).bound == "waits"


def test_connections_end_together() -> None:
    """Two requests on one of three connections would take twice as long as one on each."""
    network = Network(bandwidth=1_000_000)
    plan = Plan(12, 1_000_000, batch_bytes=3_000_000)
    workers = Workers(FREE, connections=3, network=network)
    assert estimate(plan, workers).seconds == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("change", "bound", "rate"),
    [
        ({"network": replace(GOOGLE, quota_bytes=50_000_000)}, "quota of bytes", 50e6),
        ({"network": replace(GOOGLE, quota_requests=2)}, "quota of requests", 8e6),
        ({"costs": Costs(0.01, 0.0, 0.0)}, "processor", 100e6),
        ({"costs": Costs(0.0, 1e-8, 0.0)}, "processor", 100e6),
        ({"costs": Costs(0.0, 0.0, 0.01)}, "ledger", 100e6),
    ],
)
def test_what_bounds_it(change: dict[str, object], bound: str, rate: float) -> None:
    found = estimate(MILLION, replace(Workers(FREE), **change))  # type: ignore[arg-type]
    assert found.bound == bound
    assert MILLION.instances * MILLION.size / found.seconds == pytest.approx(rate, rel=0.02)
    assert found.requests == pytest.approx(rate / 4e6, rel=0.02)  # 8 instances, and a search


def test_more_workers_help_as_long_as_nothing_is_shared() -> None:
    alone = Workers(Costs(0.01, 0.0, 0.0))
    times = [estimate(MILLION, replace(alone, number=number)).seconds for number in (1, 4)]
    assert times[0] / times[1] == pytest.approx(4, rel=0.02)
    shared = replace(alone, network=replace(GOOGLE, quota_bytes=150_000_000))
    times = [estimate(MILLION, replace(shared, number=number)).seconds for number in (4, 16)]
    assert times[0] == pytest.approx(times[1], rel=0.02)


def test_an_account_has_only_so_many_connections() -> None:
    assert CONNECTIONS.expected(MOST_CONNECTIONS) == ""
    assert CONNECTIONS.expected(MOST_CONNECTIONS + 1) != ""
    times = [estimate(MILLION, Workers(FREE, number)).seconds for number in (1, 4, 16)]
    assert times[0] / times[1] == pytest.approx(MOST_CONNECTIONS / 20, rel=0.02)
    assert times[1] == times[2]


def test_what_is_beyond_the_simulated_goes_on_at_its_pace() -> None:
    workers = Workers(Costs(0.001, 1e-9, 1e-4), number=4)
    part, whole = (estimate(Plan(number, 524_288), workers).seconds for number in (10**6, 10**8))
    assert whole == pytest.approx(100 * part, rel=0.02)


def test_an_instance_that_is_larger_than_a_request_is_a_request() -> None:
    workers = Workers(FREE, connections=2, network=Network(bandwidth=1_000_000))
    assert estimate(Plan(2, 100_000_000), workers).seconds == pytest.approx(100)
    assert estimate(Plan(1, 1), workers).seconds < 1


def test_the_guide_has_the_tables_of_the_last_measurements() -> None:
    assert f"{BEGIN}\n{tables()}\n{END}" in PAGE.read_text()


def test_the_tables_are_put_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    page.write_text(f"head\n{BEGIN}\nold\n{END}\ntail\n")
    refresh(page)
    assert page.read_text() == f"head\n{BEGIN}\n{tables()}\n{END}\ntail\n"
