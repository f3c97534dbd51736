"""The plugin inside Orthanc: the only place that knows ``import orthanc``.

This module is imported while Orthanc starts, so it imports nothing that takes time: the connector
is built on a thread of its own, and whatever goes wrong there is logged and never stops Orthanc.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthanc_gcp.plugin.background_checks import BackgroundChecks
from orthanc_gcp.plugin.first_start import followed_since

if TYPE_CHECKING:
    from collections.abc import Callable

    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.connector.connector import Connector
    from orthanc_gcp.plugin.demanded import DemandedWorker
    from orthanc_gcp.plugin.gateway_client import GatewayClient, NoGateway
    from orthanc_gcp.plugin.routes import Answer
    from orthanc_gcp.plugin.unattended import Unattended
    from orthanc_gcp.plugin.worker_client import WorkerClient

__all__ = ["Plugin", "extend_explorer", "is_script", "start"]

STARTS_WITHIN = 300.0
"""Seconds; an Orthanc that changes the schema of its database takes longer."""

# Orthanc's Python plugin borrows its REST callbacks: without a reference of ours, Orthanc crashes
# when it stops (seen with version 5.0).
_CALLBACKS: list[Any] = []


def start(orthanc: Any, interpreter: str = "") -> Plugin:
    """Start the connector inside this Orthanc.

    Parameters
    ----------
    orthanc
        The module that Orthanc's Python plugin provides. Its change callback must be
        :meth:`Plugin.on_change`, or call it.
    interpreter
        The Python that runs the worker; without one, nothing is sent.
    """
    from orthanc_gcp.plugin.page.serving import PAGE_ROUTES
    from orthanc_gcp.plugin.routes import CONNECTOR_ROUTES, GATEWAY_ROUTES, WORKER_ROUTES

    plugin = Plugin(orthanc, interpreter)
    for routes, callback in (
        (CONNECTOR_ROUTES, plugin.on_connector_request),
        (WORKER_ROUTES, plugin.on_worker_request),
        (PAGE_ROUTES, plugin.on_page_request),
        (GATEWAY_ROUTES, plugin.on_gateway_request),
    ):
        _CALLBACKS.append(callback)
        for route in routes:
            orthanc.RegisterRestCallback(route, callback)
    _CALLBACKS.extend(plugin.answer_for_orthanc())
    threading.Thread(target=plugin.run, name="gcp-start", daemon=True).start()
    return plugin


def extend_explorer(orthanc: Any) -> None:
    """Put the button that leads to the page on the first page of Orthanc Explorer.

    It takes the place of whatever another Python script has put there before.
    """
    from orthanc_gcp.plugin.page.explorer import BUTTON

    orthanc.ExtendOrthancExplorer(BUTTON)


def is_script(orthanc: Any, file: str) -> bool:
    """Whether Orthanc is configured to load this very file, not another one that has imported it.

    Two files of one name cannot both be imported, so the name tells. From version 4.1, the Python
    plugin reads ``Python.Path`` in the place of ``PythonScript``.
    """
    configuration = json.loads(orthanc.GetConfiguration())
    section = configuration.get("Python")
    path = section.get("Path") if isinstance(section, dict) else None
    named = (configuration.get("PythonScript"), path)
    return Path(file).stem in {Path(one).stem for one in named if isinstance(one, str)}


class Plugin:
    """Ties the connector and the worker to the life of Orthanc."""

    def __init__(self, orthanc: Any, interpreter: str = "") -> None:
        self._orthanc, self._interpreter = orthanc, interpreter
        self._since = followed_since(orthanc, time.time())
        self._orthanc_started = threading.Event()
        self._lock = threading.Lock()
        self._connector: Connector | None = None
        self._worker: WorkerClient | DemandedWorker | Unattended | None = None
        self._gateway: GatewayClient | NoGateway | None = None
        self._stopped = False
        self._asks_for_user = False
        self._checks = BackgroundChecks()

    def on_change(self, change_type: Any, _level: Any, _resource: Any) -> None:
        """Orthanc's change callback: two of its changes matter here."""
        if change_type == self._orthanc.ChangeType.ORTHANC_STARTED:
            self._orthanc_started.set()
        elif change_type == self._orthanc.ChangeType.ORTHANC_STOPPED:
            self.stop()

    def on_connector_request(self, output: Any, _uri: str, **request: Any) -> None:
        """Orthanc's REST callback for what the connector answers."""
        from orthanc_gcp.plugin.routes import from_connector, refusal_of

        # Without a group in the route, the Python plugin passes none.
        method, groups = request["method"], tuple(request.get("groups", ()))
        refusal = refusal_of(method, request.get("headers") or {})
        body = request.get("body") or b""
        self._reply(
            output,
            lambda: refusal or from_connector(self._connector, method, groups, body, self._checks),
        )

    def on_worker_request(self, output: Any, _uri: str, **request: Any) -> None:
        """Orthanc's REST callback for what the worker answers."""
        from orthanc_gcp.plugin.caller import user_of
        from orthanc_gcp.plugin.routes import from_worker, refusal_of

        headers = request.get("headers") or {}
        refusal = refusal_of(request["method"], headers)
        self._reply(
            output,
            lambda: (
                refusal
                or from_worker(
                    self._worker,
                    request["method"],
                    tuple(request["groups"]),
                    request.get("get") or {},
                    request.get("body") or b"",
                    user_of(headers) if self._asks_for_user else "",
                )
            ),
        )

    def on_page_request(self, output: Any, _uri: str, **request: Any) -> None:
        """Orthanc's REST callback for the files of the page."""
        from orthanc_gcp.plugin.page.serving import serve

        serve(output, request["method"], tuple(request.get("groups", ())))

    def on_gateway_request(self, output: Any, _uri: str, **request: Any) -> None:
        """Orthanc's REST callback for the status of the gateway."""
        from orthanc_gcp.plugin.routes import from_gateway

        self._reply(output, lambda: from_gateway(self._gateway, request["method"]))

    def _reply(self, output: Any, answer: Callable[[], Answer]) -> None:
        """Answer a request; of what goes wrong unexpectedly, Orthanc would log the message."""
        from orthanc_gcp.plugin.routes import FAILED

        try:
            reply = answer()
        except Exception as error:
            self._log_defect("orthanc-gcp cannot answer a request", error)
            reply = FAILED
        _reply(output, reply)

    def _log_defect(self, what: str, error: Exception) -> None:
        from orthanc_gcp.logs import places

        self._orthanc.LogError(f"{what}: unexpected {type(error).__name__}\n{places(error)}")

    def answer_for_orthanc(self) -> tuple[Callable[..., Any], ...]:
        """Have Orthanc's DICOM server ask the gateway, where the configuration wants it.

        That server looks at its start only whether somebody answers for it, and it starts before
        all that :meth:`run` waits for.
        """
        try:
            section = json.loads(self._orthanc.GetConfiguration()).get("GoogleCloudPlatform")
            options = section.get("Gateway") if isinstance(section, dict) else None
            if not isinstance(options, dict) or options.get("AnswerForOrthanc") is not True:
                return ()
            from orthanc_gcp.plugin.host import dicom_callbacks

            found = dicom_callbacks(self._orthanc, self._interpreter, lambda: self._gateway)
            return () if found is None else found.register()
        except Exception as error:
            self._log_defect("orthanc-gcp cannot answer for Orthanc", error)
            return ()

    def run(self) -> None:
        """Read the configuration, start the connector, publish when Orthanc has started."""
        try:
            from orthanc_gcp.plugin.host import connector, settings_of, warn_of_authorities

            settings = settings_of(self._orthanc)
            self._asks_for_user = settings.asks_for_user
            starting = connector(self._orthanc, settings)
            with self._lock:
                if self._stopped:
                    return
                self._connector = starting
            starting.start()
            self._wait_for_orthanc()
            if not self._stopped:
                warn_of_authorities(self._orthanc, settings)
                starting.orthanc_started()
                self._start_worker(settings)
                self._start_gateway(settings)
        except Exception as error:
            self._log_defect("orthanc-gcp cannot start", error)

    def _wait_for_orthanc(self) -> None:
        """Wait until Orthanc has started, which it says to the change callback alone."""
        if not self._orthanc_started.wait(STARTS_WITHIN):
            self._orthanc.LogError(
                f"orthanc-gcp has not heard for {STARTS_WITHIN:g} s that Orthanc has started: "
                "nothing is published or sent until then. Where a script of your own loads this "
                "package, its change callback has to call on_change() of the script that it imports"
            )
            self._orthanc_started.wait()

    def _start_worker(self, settings: Settings) -> None:
        from orthanc_gcp.plugin.host import worker

        starting = worker(self._orthanc, settings, self._interpreter, self._since)
        with self._lock:
            if self._stopped or starting is None:
                return
            self._worker = starting
            starting.start()

    def _start_gateway(self, settings: Settings) -> None:
        from orthanc_gcp.plugin.host import gateway

        starting = gateway(self._orthanc, settings, self._interpreter)
        with self._lock:
            if self._stopped or starting is None:
                return
            self._gateway = starting
            starting.start()

    def stop(self) -> None:
        """Orthanc is about to stop."""
        with self._lock:
            self._stopped = True
            self._orthanc_started.set()
        self._checks.stop()
        for one in (self._gateway, self._worker):
            if one is not None:
                one.stop()
        if self._connector is not None:
            self._connector.stop()


def _reply(output: Any, reply: Answer) -> None:
    if reply.allow:
        output.SendMethodNotAllowed(reply.allow)
    elif reply.status == 200:
        output.AnswerBuffer(reply.text, "application/json")
    else:
        _send(output, reply.status, reply.text)


def _send(output: Any, status: int, text: str) -> None:
    """Answer with a status and a body.

    Up to version 4, the Python plugin wants the length, too, and sends no content type itself.
    """
    try:
        output.SendHttpStatus(status, text)
    except TypeError:
        output.SetHttpHeader("Content-Type", "application/json")
        output.SendHttpStatus(status, text, len(text.encode()))
