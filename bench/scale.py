"""How long terabytes take, on paper: ``python -m bench scale`` writes the tables of docs/scale.md.

A simulation of workers, each with connections that carry one batch after the other, over what was
measured here: the processor time of a worker, the ledger's time, and the network of the profile
"google". Two measurements of that network are its test.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from heapq import heapify, heapreplace
from pathlib import Path
from typing import Any

from bench.custody_rows import CHECKED, CONNECTIONS, SMALL, WORKER
from bench.network import GOOGLE, MEGABYTE, Network

__all__ = [
    "Costs",
    "Estimate",
    "Plan",
    "Workers",
    "estimate",
    "measured_costs",
    "refresh",
    "tables",
]

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
RESULTS = Path(__file__).with_name("results")
BEGIN, END = "<!-- scale: begin -->", "<!-- scale: end -->"

TERABYTE = 10**12
SIZES = (512 * 1024, 100_000)
AMOUNTS = (TERABYTE, 10 * TERABYTE, 100 * TERABYTE)
WORKERS = (1, 4, 16)
MOST_CONNECTIONS = 64
"""``MaxConnections`` of an account, for all its workers together, at most."""
ASSUMED_REQUESTS = 100
"""A second: the emulator's profile, 6,000 a minute; Google publishes no number."""

_SIMULATED = 4000
"""Batches; what comes later goes on at the pace of the second half."""
_UNLIMITED = 1e15


@dataclass(frozen=True)
class Costs:
    """What it takes beside the network, in seconds.

    Attributes
    ----------
    instance, byte : float
        Processor time of a worker, which has one processor, for each of them.
    ledger : float
        The time of the ledger that all workers share, for each instance.
    """

    instance: float
    byte: float
    ledger: float


@dataclass(frozen=True)
class Plan:
    """What is to be transferred, and in which requests.

    Attributes
    ----------
    instances, size : int
        How many, and the bytes of each.
    batch_bytes, batch_instances : int
        How many of them a request has at most.
    searches : float
        How many searches prove what one request has stored.
    """

    instances: int
    size: int
    batch_bytes: int = 8 * 2**20
    batch_instances: int = 1000
    searches: float = 1.0


@dataclass(frozen=True)
class Workers:
    """Who transfers it, over what.

    Attributes
    ----------
    connections : int
        Of each worker, as far as the account may have so many of all.
    """

    costs: Costs
    number: int = 1
    connections: int = CONNECTIONS
    network: Network = GOOGLE

    @property
    def all_connections(self) -> int:
        """Those of all of them together."""
        return min(self.number * self.connections, MOST_CONNECTIONS)


@dataclass(frozen=True)
class Estimate:
    """How long it takes, in seconds; the requests a second then; and what would help most."""

    seconds: float
    requests: float
    bound: str


def estimate(plan: Plan, workers: Workers) -> Estimate:
    """Simulate a transfer, and again without each of its limits: what is then fastest bounds it."""
    seconds = _seconds(plan, workers)
    freed = {bound: _seconds(plan, other) for bound, other in _without(workers).items()}
    requests = math.ceil(plan.instances / _instances_of_a_batch(plan, workers))
    rate = requests * (1 + plan.searches) / seconds
    return Estimate(seconds, rate, min(freed, key=lambda bound: freed[bound]))


def _without(workers: Workers) -> Mapping[str, Workers]:
    network, costs = workers.network, workers.costs
    networks = {
        "connections": replace(network, bandwidth=_UNLIMITED),
        "waits": replace(network, round_trip=0.0, first_byte=0.0, instance=0.0),
        "quota of requests": replace(network, quota_requests=0),
        "quota of bytes": replace(network, quota_bytes=0),
    }
    return {
        **{bound: replace(workers, network=other) for bound, other in networks.items()},
        "processor": replace(workers, costs=replace(costs, instance=0.0, byte=0.0)),
        "ledger": replace(workers, costs=replace(costs, ledger=0.0)),
    }


def _instances_of_a_batch(plan: Plan, workers: Workers) -> int:
    """Of full batches, but so that all connections have equally many."""
    most = max(1, min(plan.batch_bytes // plan.size, plan.batch_instances))
    rounds = math.ceil(plan.instances / (most * workers.all_connections))
    return max(1, math.ceil(plan.instances / (rounds * workers.all_connections)))


def _seconds(plan: Plan, workers: Workers) -> float:
    """All batches, or so many that the pace is known."""
    each = _instances_of_a_batch(plan, workers)
    batches = math.ceil(plan.instances / each)
    if batches <= 2 * _SIMULATED:
        return _simulated(batches, each, plan, workers)
    half = _simulated(_SIMULATED // 2, each, plan, workers)
    whole = _simulated(_SIMULATED, each, plan, workers)
    return whole + (batches - _SIMULATED) * (whole - half) / (_SIMULATED / 2)


class _Rate:
    """Something that all take from, so many a second; None for no end of it."""

    def __init__(self, rate: float) -> None:
        self._each = 1 / rate if rate else 0.0
        self._free = 0.0

    def take(self, amount: float, moment: float) -> float:
        """When an amount that is asked for at a moment may begin to be used."""
        begins = max(moment, self._free)
        self._free = begins + amount * self._each
        return begins


def _simulated(batches: int, instances: int, plan: Plan, workers: Workers) -> float:
    """One batch after the other, each on the connection that is free first."""
    network, costs = workers.network, workers.costs
    size = instances * plan.size
    wait = network.wait + network.instance * (instances - 1)
    sending = size / network.bandwidth if network.bandwidth else 0.0
    computing = instances * costs.instance + size * costs.byte
    requests, received = _Rate(network.quota_requests), _Rate(network.quota_bytes)
    ledger = _Rate(1 / costs.ledger if costs.ledger else 0.0)
    processors = [0.0] * workers.number
    begins = network.wait  # for a token
    free = [(begins, number % workers.number) for number in range(workers.all_connections)]
    heapify(free)
    ended = 0.0
    for _ in range(batches):
        moment, worker = free[0]
        begins = requests.take(1 + plan.searches, ledger.take(instances, moment))
        begins = received.take(size, begins)
        processors[worker] = max(processors[worker], begins) + computing
        answered = max(begins + sending, processors[worker]) + wait
        heapreplace(free, (answered, worker))
        ended = max(ended, answered)
    return ended + network.wait  # the last search


def measured_costs(results: Path = RESULTS) -> Costs:
    """What was measured, in seconds: two sizes tell what an instance and what a byte costs."""
    small = median_of(results, "custody-checks-small", "cpu", WORKER) / SMALL.total
    large = median_of(results, "custody-checks-large", "cpu", WORKER) / CHECKED.total
    byte = max(0.0, (large - small) / (CHECKED.pixels - SMALL.pixels))
    ledger = median_of(results, "custody-workers", "time", "4 workers")
    return Costs(small - byte * SMALL.pixels, byte, ledger / 1e6)


def median_of(results: Path, measurement: str, figure: str, subject: str) -> float:
    """A figure of the results of a measurement."""
    document: dict[str, Any] = json.loads((results / f"{measurement}.json").read_text())
    for entry in document["comparisons"]:
        if (entry["figure"], entry["subject"]) == (figure, subject):
            return float(entry["value"]["median"])
    raise ValueError(f"{measurement} has no {figure} of {subject}")


def refresh(page: Path = PAGE) -> None:
    """Put the tables between their marks."""
    head, _, rest = page.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n{tables()}\n{END}{tail}")


def tables(results: Path = RESULTS) -> str:
    """The tables in Markdown, for each size of instances."""
    costs = measured_costs(results)
    return "\n\n".join("\n".join(_table(size, costs)) for size in SIZES)


def _table(size: int, costs: Costs) -> Iterator[str]:
    yield f"**Instances of {size / 1000:,.0f} kB**"
    yield ""
    yield (
        "| amount | workers | time without a quota | MB a second | requests a minute | bounded by "
        f"| time with {60 * ASSUMED_REQUESTS:,} requests a minute | bounded by |"
    )
    yield f"|{'---|' * 8}"
    limited = replace(GOOGLE, quota_requests=ASSUMED_REQUESTS)
    for amount in AMOUNTS:
        plan = Plan(amount // size, size)
        for number in WORKERS:
            free = estimate(plan, Workers(costs, number))
            bound = estimate(plan, Workers(costs, number, network=limited))
            cells = (
                f"{amount / TERABYTE:g} TB",
                str(number),
                _duration(free.seconds),
                f"{amount / free.seconds / MEGABYTE:,.0f}",
                f"{60 * free.requests:,.0f}",
                free.bound,
                _duration(bound.seconds),
                bound.bound,
            )
            yield f"| {' | '.join(cells)} |"


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 1:
        return f"{seconds / 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
