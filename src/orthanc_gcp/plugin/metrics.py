"""Metrics in Orthanc's ``/tools/metrics-prometheus``.

Orthanc writes no ``# TYPE`` there, so that only the name tells a counter from a gauge, and keeps a
value of ``SetMetricsValue`` in 32 bits: seven digits. ``SetMetricsIntegerValue`` keeps 64; the
Python plugin 7.1 has it, 4.0 and 5.0 do not (all three seen).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orthanc_gcp.worker.samples import Sample

__all__ = ["Metrics"]

_STEP, _ROUNDED_UP = 128, 5
"""Seconds between the times of 2004 to 2038 that 32 bits hold; how much later Orthanc may print
one, with nine digits of ten."""


class Metrics:
    """Writes samples; safe for several threads, as Orthanc's registry is."""

    def __init__(self, orthanc: Any) -> None:
        self._orthanc = orthanc

    def write(self, samples: Iterable[Sample]) -> None:
        """Show these values from now on."""
        for sample in samples:
            self._set(sample)

    def _set(self, sample: Sample) -> None:
        name, kind = _name(sample), self._orthanc.MetricsType.DEFAULT
        # A name keeps the type that it is first written with: which one depends on nothing else.
        if hasattr(self._orthanc, "SetMetricsIntegerValue"):
            self._orthanc.SetMetricsIntegerValue(name, int(sample.value), kind)
        else:
            self._orthanc.SetMetricsValue(name, _float(sample), kind)


def _float(sample: Sample) -> float:
    """What 32 bits hold of a value: of a time, none that is printed later than it is."""
    if sample.value and sample.metric.name.endswith("_timestamp_seconds"):
        return float((sample.value - _ROUNDED_UP) // _STEP * _STEP)
    return float(sample.value)


def _name(sample: Sample) -> str:
    """Name and labels, as Prometheus' text format has them."""
    labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in sample.labels.items())
    return f"{sample.metric.name}{{{labels}}}" if labels else sample.metric.name


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
