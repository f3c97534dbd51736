"""The Orthanc around us: its configuration, its log and its DICOMweb plugin.

Every call of ``orthanc.*`` holds the interpreter for its whole length, so only short ones are
made: none goes to the network.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orthanc_gcp import configuration
from orthanc_gcp.configuration import Settings
from orthanc_gcp.connector.connector import Connector
from orthanc_gcp.errors import ConfigurationError, DefinitionError
from orthanc_gcp.orthanc.access import address, fingerprint
from orthanc_gcp.plugin.worker_client import WorkerClient
from orthanc_gcp.plugin.worker_process import WorkerProcess, command

__all__ = ["connector", "custody", "settings_of", "warn_of_authorities"]

_log = logging.getLogger(__name__)


def settings_of(orthanc: Any) -> Settings:
    """The configuration of this Orthanc; the package's log goes to its log from here on."""
    _log_to(orthanc)
    return configuration.read(json.loads(orthanc.GetConfiguration()), _folder(orthanc))


def connector(orthanc: Any, settings: Settings) -> Connector:
    """The connector for this Orthanc."""
    plugin = InProcessDicomWeb(orthanc, settings.servers_root)
    return Connector(settings, plugin, on_look=Metrics(orthanc).update)


def warn_of_authorities(orthanc: Any, settings: Settings) -> None:
    """Say, once Orthanc has started, when its own transfers cannot work."""
    version = str(json.loads(orthanc.RestApiGet("/system"))["Version"])
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    # "mainline" is newer than any release.
    if settings.accounts and settings.lacks_authorities(numbers or (999,)):
        _log.error(
            "HttpsCACertificates is empty or missing: every HTTPS transfer of the DICOMweb plugin "
            "fails. Set it to a PEM file, on Debian /etc/ssl/certs/ca-certificates.crt"
        )


def custody(
    orthanc: Any, settings: Settings, interpreter: str, since: float
) -> WorkerClient | None:
    """The worker for this Orthanc; None if its rules want nothing sent, or it cannot be asked.

    Parameters
    ----------
    interpreter
        The Python that this package is installed for; Orthanc, which embeds one, knows of none.
    since
        A moment before Orthanc listened, in UTC seconds: all that it received later is followed.
    """
    if not settings.rules:
        return None
    if not (settings.orthanc.http_server_enabled and interpreter):
        _log.error(
            "nothing is sent: the worker needs Orthanc's REST API (HttpServerEnabled), and a "
            "script that `orthanc-gcp plugin-script` has printed in this version"
        )
        return None
    secret = secrets.token_urlsafe(32)
    port = settings.orthanc.http_port
    try:
        pinned = fingerprint(settings) if settings.orthanc.ssl_enabled else ""
    except ConfigurationError as error:
        _log.error("nothing is sent: %s", error)
        return None
    words = {
        "Configuration": json.loads(orthanc.GetConfiguration()),
        "Folder": str(settings.folder),
        "Orthanc": address(settings),
        "Fingerprint": pinned,
        "Authorization": orthanc.GenerateRestApiAuthorizationToken(),
        "Name": f"{socket.gethostname()}:{port}",
        "Since": since,
        "Secret": secret,
    }

    def set_metric(name: str, value: float) -> None:
        orthanc.SetMetricsValue(name, float(value), orthanc.MetricsType.DEFAULT)

    return WorkerClient(WorkerProcess(command(interpreter), lambda: words), secret, set_metric)


def _folder(orthanc: Any) -> Path:
    """Where the files of relative options are looked for: where Orthanc looks for its own.

    ``GetConfigurationPath()`` does not tell: for a folder it gives the parent, unless a slash ends
    its name (seen with Orthanc 1.10 to 1.13). The command line does; no option of Orthanc is
    followed by a value of its own.
    """
    count = orthanc.GetCommandLineArgumentsCount()
    arguments = [orthanc.GetCommandLineArgument(number) for number in range(count)]
    given = [Path(one) for one in arguments if not one.startswith("-")]
    path = given[0] if given else Path()
    return (path if path.is_dir() else path.parent).absolute()


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
            raise _refused(error) from None

    def delete(self, name: str) -> None:
        """Remove a server."""
        try:
            self._orthanc.RestApiDeleteAfterPlugins(self._root + name)
        except self._orthanc.OrthancException as error:
            raise _refused(error) from None


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


def _refused(error: Exception) -> DefinitionError:
    words = error.args[1] if len(error.args) > 1 else type(error).__name__
    return DefinitionError(f"Orthanc answered: {words}")


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
