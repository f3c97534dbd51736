"""The Orthanc around us: its configuration, its log and its DICOMweb plugin.

Every call of ``orthanc.*`` holds the interpreter for its whole length, so only short ones are
made: none goes to the network.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orthanc_gcp import configuration
from orthanc_gcp.connector import Connector
from orthanc_gcp.errors import PublicationError

__all__ = ["connector"]


def connector(orthanc: Any) -> Connector:
    """The connector for this Orthanc, by its configuration."""
    _log_to(orthanc)
    folder = Path(orthanc.GetConfigurationPath() or ".")
    settings = configuration.read(
        json.loads(orthanc.GetConfiguration()), folder if folder.is_dir() else folder.parent
    )
    plugin = InProcessDicomWeb(orthanc, settings.servers_root)
    return Connector(settings, plugin, on_look=Metrics(orthanc).update)


class InProcessDicomWeb:
    """The DICOMweb plugin in the same process, reached without HTTP."""

    def __init__(self, orthanc: Any, root: str) -> None:
        self._orthanc = orthanc
        self._root = root

    def version(self) -> str | None:
        """The plugin's version; None where it is not installed."""
        try:
            plugin = json.loads(self._orthanc.RestApiGet("/plugins/dicom-web"))
        except self._orthanc.OrthancException:
            return None
        return str(plugin.get("Version", ""))

    def shown(self) -> dict[str, dict[str, Any]] | None:
        """All servers as ``GET servers?expand`` shows them; None where the plugin is disabled."""
        try:
            answer = self._orthanc.RestApiGetAfterPlugins(f"{self._root.rstrip('/')}?expand")
        except self._orthanc.OrthancException:
            return None
        servers = json.loads(answer)
        return servers if isinstance(servers, dict) else None

    def put(self, name: str, server: Mapping[str, Any]) -> None:
        """Write the whole definition of a server."""
        try:
            self._orthanc.RestApiPutAfterPlugins(self._root + name, json.dumps(server))
        except self._orthanc.OrthancException as error:
            raise _refused(error, name) from None

    def delete(self, name: str) -> None:
        """Remove a server."""
        try:
            self._orthanc.RestApiDeleteAfterPlugins(self._root + name)
        except self._orthanc.OrthancException as error:
            raise _refused(error, name) from None


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


def _refused(error: Exception, name: str) -> PublicationError:
    words = error.args[1] if len(error.args) > 1 else type(error).__name__
    return PublicationError(f"Orthanc answered: {words}", account=name, reason="orthanc")


class _OrthancLog(logging.Handler):
    """Hands this package's log records to Orthanc's log."""

    def __init__(self, orthanc: Any) -> None:
        super().__init__()
        self._levels = (
            (logging.ERROR, orthanc.LogError),
            (logging.WARNING, orthanc.LogWarning),
            (logging.NOTSET, orthanc.LogInfo),
        )

    def emit(self, record: logging.LogRecord) -> None:
        write = next(write for level, write in self._levels if record.levelno >= level)
        write(f"Google Cloud Platform: {self.format(record)}")


def _log_to(orthanc: Any) -> None:
    log = logging.getLogger("orthanc_gcp")
    log.handlers[:] = [_OrthancLog(orthanc)]
    log.setLevel(logging.INFO)
    log.propagate = False
