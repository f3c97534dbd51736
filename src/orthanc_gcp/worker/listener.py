"""Where the worker's API is served: at a socket of this machine, to those who know a secret.

The secret is sent as a bearer token in the header ``Authorization`` (RFC 6750 §2.1); who sends
another is answered 401 with ``WWW-Authenticate`` (§3).
"""

from __future__ import annotations

import hmac
import socket
import threading

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from orthanc_gcp.worker.bounded_http import BoundedHttpProtocol

__all__ = ["Guarded", "Listener"]

_STOP_WITHIN = 2.0
"""Seconds for requests that run."""
_AT_ONCE = 64
"""So many connections are accepted before one of them can be closed again: each is a file."""
_WORDS = "who asks this API has to know its secret; Orthanc does: ask it for /gcp/transfers"


class Guarded:
    """An application for those who know a secret."""

    def __init__(self, application: ASGIApp, secret: str) -> None:
        self._application, self._secret = application, secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given, self._secret):
            await self._application(scope, receive, send)
        else:
            refusal = {"HttpStatus": 401, "Message": _WORDS}
            answer = JSONResponse(refusal, 401, {"WWW-Authenticate": "Bearer"})
            await answer(scope, receive, send)


class Listener:
    """Serves an application at a socket that listens, in a thread."""

    def __init__(self, application: ASGIApp, at: socket.socket) -> None:
        self._socket = at
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=BoundedHttpProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_AT_ONCE,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="gcp-api", daemon=True)

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_WITHIN)
        self._socket.close()

    def _serve(self) -> None:
        self._server.run([self._socket])
