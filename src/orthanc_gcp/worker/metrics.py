"""A worker's metrics in Prometheus' text format, for a worker that no Orthanc asks.

The registry is the worker's own: the library's default one would add metrics of Python's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from orthanc_gcp.worker.samples import OF_WORKER, Metric, Sample

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Shows what is measured at the moment when somebody asks.

    Parameters
    ----------
    measure
        Gives all samples.
    """

    def __init__(self, measure: Callable[[], Iterable[Sample]]) -> None:
        self._measure = measure
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """All of them; raises what measuring raises."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Family]:
        """Nothing: the registry would measure for it, before there is a ledger."""
        yield from ()

    def collect(self) -> Iterator[Family]:
        """What the registry asks for."""
        families = {metric: _family(metric) for metric in OF_WORKER}
        for sample in self._measure():
            name = sample.metric.name
            families[sample.metric].add_sample(name, dict(sample.labels), sample.value)
        yield from families.values()


def _family(metric: Metric) -> Family:
    kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
    return kind(metric.name, metric.meaning)
