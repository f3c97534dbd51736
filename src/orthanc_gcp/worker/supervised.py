"""A process that Orthanc has started: it reads everything from stdin, and ends with Orthanc.

The first line of stdin is all that there is to know; no more follows, and the end of stdin is the
end of Orthanc. The process answers one line on stdout, where it is asked, and logs on stderr.
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from orthanc_gcp import configuration
from orthanc_gcp.configuration import Settings
from orthanc_gcp.errors import AddressInUseError, ConfigurationError, GcpError
from orthanc_gcp.logs import log_to_stderr
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.stop_signals import end_within, stop_on_signals
from orthanc_gcp.worker.handshake import WorkerAddress, WorkerInput
from orthanc_gcp.worker.launch import (
    NOT_CONFIGURED,
    NOT_INSTALLED,
    collect_rarely,
    make,
    not_installed,
)
from orthanc_gcp.worker.private_socket import private_socket

__all__ = ["Maker", "Service", "run", "worker"]

_log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_CONNECTIONS = 32
_TIMEOUT = 30
_STOP_WITHIN = 10.0


class Service(Protocol):
    """What a process is there for."""

    def listen(self, secret: str, at: socket.socket) -> None:
        """Offer its API to those who know the secret, from :meth:`run` on."""

    def run(self) -> None:
        """Work until :meth:`stop`."""

    def stop(self) -> None:
        """End :meth:`run`, from any thread."""


Maker = Callable[[Settings, OrthancRest | None, WorkerInput], Service]
"""Makes it for an Orthanc; None for one without a REST API."""


def worker(settings: Settings, orthanc: OrthancRest | None, given: WorkerInput) -> Service:
    """The worker; raises what :func:`orthanc_gcp.worker.launch.make` does."""
    if orthanc is None:
        raise ConfigurationError("HttpServerEnabled is false: there is nothing to be read from")
    made = make(settings, orthanc, given.name, given.since, sends=bool(settings.rules))
    collect_rarely()
    return made


def run(maker: Maker = worker, what: str = "worker") -> int:
    """Work for the Orthanc at the other end of stdin; the exit code.

    Parameters
    ----------
    what
        The extra of the distribution that the process needs, and is named by.
    """
    _end_with_orthanc()
    log_to_stderr("%(levelname)s %(message)s")
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    # The connector writes of the same token endpoint into the same log.
    logging.getLogger("orthanc_gcp.auth").setLevel(logging.ERROR)
    try:
        given = WorkerInput.of_line(sys.stdin.buffer.readline())
    except ValueError as error:
        _log.error(
            "the first line of stdin is not from the plugin of this version (%s): restart Orthanc",
            error,
        )
        return NOT_CONFIGURED
    settings = configuration.read(given.configuration, given.folder)
    try:
        service = maker(settings, _orthanc(given), given)
    except AddressInUseError as error:
        _log.error("%s", error)
        return 1  # it may be free later
    except ConfigurationError as error:
        _log.error("%s", error)
        return NOT_CONFIGURED
    except ImportError as error:
        _log.error("%s", not_installed(f"the {what}", error, what))
        return NOT_INSTALLED
    stop_on_signals(service.stop, _STOP_WITHIN)
    with ExitStack() as opened:
        try:
            listening = opened.enter_context(private_socket())
        except OSError as error:
            _log.error("its API has no place in %s: %s", error.filename, error.strerror)
            return 1
        service.listen(given.secret, listening.socket)
        sys.stdout.buffer.write(WorkerAddress(listening.place).line())
        sys.stdout.flush()
        return _work(service)


def _orthanc(given: WorkerInput) -> OrthancRest | None:
    if not given.orthanc:
        return None
    return OrthancRest(
        given.orthanc,
        timeout=_TIMEOUT,
        authorization=given.authorization,
        fingerprint=given.fingerprint,
        connections=_CONNECTIONS,
    )


def _work(service: Service) -> int:
    """Work until Orthanc ends, or asks for it; the exit code."""
    os.dup2(2, 1)  # nobody reads more: what a library prints belongs to the log
    threading.Thread(target=_watch, args=(service,), name="gcp-orthanc", daemon=True).start()
    try:
        service.run()
    except GcpError as error:
        _log.error("%s", error)
        return 1
    return 0


def _end_with_orthanc() -> None:
    """Where the kernel can, it ends this process with Orthanc, whatever state it is in.

    prctl(2), PR_SET_PDEATHSIG: with the thread that has started it, which lives as long.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library of this name
        _log.debug("this system has no prctl: the end of stdin has to do")


def _watch(service: Service) -> None:
    """Stop when Orthanc has closed its end."""
    while os.read(0, 4096):
        pass
    end_within(_STOP_WITHIN)
    service.stop()
