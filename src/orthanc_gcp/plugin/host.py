"""The Orthanc around us: its configuration, and the connector and the worker for it.

Every call of ``orthanc.*`` holds the interpreter for its whole length, so only short ones are
made: none goes to the network.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from orthanc_gcp import configuration
from orthanc_gcp.configuration import Settings
from orthanc_gcp.connector.connector import Connector
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.orthanc.access import address, fingerprint
from orthanc_gcp.orthanc.find import find_limits
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.orthanc.versions import parse_version
from orthanc_gcp.plugin import unattended
from orthanc_gcp.plugin.demanded import DemandedWorker
from orthanc_gcp.plugin.dicom_callbacks import DicomCallbacks
from orthanc_gcp.plugin.dicomweb_plugin import InProcessDicomWeb
from orthanc_gcp.plugin.first_start import configuration_folder
from orthanc_gcp.plugin.gateway_client import GatewayClient, NoGateway
from orthanc_gcp.plugin.log import log_to
from orthanc_gcp.plugin.metrics import Metrics
from orthanc_gcp.plugin.unattended import Unattended, may_have_a_ledger
from orthanc_gcp.plugin.worker_client import WorkerClient
from orthanc_gcp.plugin.worker_process import WorkerProcess, command
from orthanc_gcp.worker.handshake import WorkerInput
from orthanc_gcp.worker.samples import of_tokens

__all__ = [
    "connector",
    "dicom_callbacks",
    "gateway",
    "settings_of",
    "warn_of_authorities",
    "worker",
]

_log = logging.getLogger(__name__)

_LOCAL_WITHIN = 60.0


def settings_of(orthanc: Any) -> Settings:
    """The configuration of this Orthanc; the package's log goes to its log from here on."""
    log_to(orthanc)
    return configuration.read(json.loads(orthanc.GetConfiguration()), configuration_folder(orthanc))


def connector(orthanc: Any, settings: Settings) -> Connector:
    """The connector for this Orthanc."""
    plugin = InProcessDicomWeb(orthanc, settings.servers_root)
    metrics = Metrics(orthanc)

    def show(running: Connector) -> None:
        metrics.write(of_tokens(running.figures(), running.clock.utc().timestamp()))

    return Connector(settings, plugin, on_check=show)


def warn_of_authorities(orthanc: Any, settings: Settings) -> None:
    """Say, once Orthanc has started, when its own transfers cannot work."""
    version = str(json.loads(orthanc.RestApiGet("/system"))["Version"])
    if settings.accounts and settings.lacks_authorities(parse_version(version)):
        _log.error(
            "HttpsCACertificates is empty or missing: every HTTPS transfer of the DICOMweb plugin "
            "fails. Set it to a PEM file, on Debian /etc/ssl/certs/ca-certificates.crt"
        )


def worker(
    orthanc: Any, settings: Settings, interpreter: str, since: float
) -> WorkerClient | DemandedWorker | Unattended | None:
    """The worker for this Orthanc, or what stands in its place; None without either.

    Where no rule sends or brings anything, it is started when something is to be retrieved.

    Parameters
    ----------
    interpreter
        The Python that this package is installed for; Orthanc, which embeds one, knows of none.
    since
        A moment before Orthanc listened, in UTC seconds: all that it received later is followed.
    """
    given = _given(orthanc, settings, interpreter, since)
    if not settings.has_rules:
        waits = _unattended(orthanc, settings, interpreter)
        if given is None or not settings.accounts:
            return waits
        demanded = DemandedWorker(
            lambda: _worker(orthanc, interpreter, given),
            waits,
        )
        if waits is not None:
            waits.on_open_retrievals = demanded.wake
        return demanded
    return None if given is None else _worker(orthanc, interpreter, given)


def gateway(orthanc: Any, settings: Settings, interpreter: str) -> GatewayClient | NoGateway | None:
    """The gateway for this Orthanc, or what says why there is none; None where none is wanted.

    Parameters
    ----------
    interpreter
        As for the worker.
    """
    if settings.gateway_problems:  # the connector has logged them
        return NoGateway("; ".join(map(str, settings.gateway_problems)))
    if settings.gateway is None or not settings.gateway.start_with_orthanc:
        return None
    if not interpreter:
        words = "it needs a script that `orthanc-gcp plugin-script` has printed in this version"
        _log.error("the gateway cannot be started: %s", words)
        return NoGateway(words)
    given = _input_without_rest(orthanc, settings)
    process = WorkerProcess(
        command(interpreter, "gateway"), given, "gateway", "workstations are not answered"
    )
    return GatewayClient(process, given.secret, Metrics(orthanc).write)


def dicom_callbacks(
    orthanc: Any, interpreter: str, running: Callable[[], GatewayClient | NoGateway | None]
) -> DicomCallbacks | None:
    """What answers Orthanc's DICOM server; None where Orthanc is to do so by itself.

    Parameters
    ----------
    interpreter
        As for the worker.
    running
        Gives the gateway of this Orthanc, as soon as there is one.
    """
    settings = settings_of(orthanc)
    wanted = settings.gateway is not None and settings.gateway.answer_for_orthanc
    if not wanted or settings.gateway_problems or not interpreter:
        return None
    if not settings.orthanc.http_server_enabled:
        _log.error(
            "AnswerForOrthanc needs Orthanc's REST API (HttpServerEnabled): it is passed over"
        )
        return None

    def local() -> OrthancRest:
        return OrthancRest(
            address(settings),
            timeout=_LOCAL_WITHIN,
            authorization=orthanc.GenerateRestApiAuthorizationToken(),
            fingerprint=fingerprint(settings) if settings.orthanc.ssl_enabled else "",
        )

    def plain(aet: str) -> str:
        bare = aet.strip(" \0")
        return bare if settings.orthanc.strict_aet_comparison else bare.upper()

    return DicomCallbacks(orthanc, running, local, plain, find_limits(settings))


def _worker(orthanc: Any, interpreter: str, given: WorkerInput) -> WorkerClient:
    process = WorkerProcess(command(interpreter), given)
    return WorkerClient(process, given.secret, Metrics(orthanc).write)


def _given(orthanc: Any, settings: Settings, interpreter: str, since: float) -> WorkerInput | None:
    """What a worker is given; None where there can be none, which is said where one is needed."""
    if not (settings.orthanc.http_server_enabled and interpreter):
        problem = (
            "the worker needs Orthanc's REST API (HttpServerEnabled), and a script that "
            "`orthanc-gcp plugin-script` has printed in this version"
        )
    else:
        try:
            return _worker_input(orthanc, settings, since)
        except ConfigurationError as error:
            problem = str(error)
    if settings.has_rules:
        what = "sent" if settings.rules else "received"
        _log.error("nothing is %s: %s", what, problem)
    return None


def _unattended(orthanc: Any, settings: Settings, interpreter: str) -> Unattended | None:
    if not (interpreter and may_have_a_ledger(settings)):
        return None
    given = _input_without_rest(orthanc, settings)
    return Unattended(unattended.command(interpreter), given, Metrics(orthanc).write)


def _input_without_rest(orthanc: Any, settings: Settings) -> WorkerInput:
    """What a process is given that does without Orthanc's REST API where there is none."""
    if settings.orthanc.http_server_enabled:
        with suppress(ConfigurationError):
            return _worker_input(orthanc, settings, 0.0)
    whole = json.loads(orthanc.GetConfiguration())
    secret = secrets.token_urlsafe(32)
    return WorkerInput(whole, settings.folder, "", "", "", "", 0.0, secret)


def _worker_input(orthanc: Any, settings: Settings, since: float) -> WorkerInput:
    """All that a worker needs to know.

    Its authorization is Orthanc's own token for its plugins' requests (Orthanc's plugin SDK,
    ``OrthancPluginGenerateRestApiAuthorizationToken``), so that no user's password is needed.

    Raises
    ------
    ConfigurationError
        Orthanc's certificate cannot be read.
    """
    return WorkerInput(
        configuration=json.loads(orthanc.GetConfiguration()),
        folder=settings.folder,
        orthanc=address(settings),
        fingerprint=fingerprint(settings) if settings.orthanc.ssl_enabled else "",
        authorization=orthanc.GenerateRestApiAuthorizationToken(),
        name=f"{socket.gethostname()}:{settings.orthanc.http_port}",
        since=since,
        secret=secrets.token_urlsafe(32),
    )
