"""uvicorn as the emulator needs it: it says when it is ready, and leaves signals to its owner."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from orthanc_gcp.emulator.http.protocol import BulkHttpProtocol

__all__ = ["UvicornServer", "listen"]

_KEEP_ALIVE = 240
"""How many seconds an idle connection is kept."""
_WAITING_CONNECTIONS = 2048
_AT_ONCE = 64
"""So many connections are accepted before one of them can be closed again: each is a file."""


class UvicornServer(uvicorn.Server):
    """A server of one application.

    Parameters
    ----------
    certificate, key : Path or None
        PEM files; with them, it speaks HTTPS.

    Attributes
    ----------
    ready : callable
        Is called once requests are answered; to be set before :meth:`serve`.
    """

    ready: Callable[[], None]

    def __init__(
        self, application: ASGIApp, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        config = uvicorn.Config(
            application,
            http=BulkHttpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=_AT_ONCE,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=0,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_WAITING_CONNECTIONS)  # asyncio let as many wait as it accepts at once
        self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: whoever runs the server decides what a signal means."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens for TCP connections; port 0 is any free one.

    Raises
    ------
    OSError
        The address is taken or not this machine's; its text says so and which one it is.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is spelt out.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let others take a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_WAITING_CONNECTIONS)
    except OSError as error:
        listener.close()
        reason = f"cannot listen at {host}:{port}: {error.strerror}"
        raise OSError(error.errno, reason) from error
    listener.setblocking(False)
    return listener
