"""Metrics."""

from __future__ import annotations

from typing import Any

from orthanc_gcp.connector.connector import Connector

__all__ = ["Metrics"]


class Metrics:
    """The accounts' state in ``/tools/metrics-prometheus``."""

    def __init__(self, orthanc: Any) -> None:
        self._orthanc = orthanc

    def update(self, connector: Connector) -> None:
        """Write the metrics of all accounts."""
        for name, figures in connector.figures():
            label = name.replace("\\", "\\\\").replace('"', '\\"')
            left = figures.seconds_to_expiry
            self._set("up", label, float(left > 0))
            self._set("seconds_to_expiry", label, left)
            self._set("refreshes_total", label, float(figures.refreshes))
            self._set("failures_total", label, float(figures.failures))

    def _set(self, metric: str, label: str, value: float) -> None:
        name = f'gcp_token_{metric}{{account="{label}"}}'
        self._orthanc.SetMetricsValue(name, value, self._orthanc.MetricsType.DEFAULT)
