"""Connections that notice an answer which comes before the request has been sent.

A server that refuses a large request says so at once, and closes. What it said is worth more than
the broken pipe which follows from it.
"""

from __future__ import annotations

import contextlib
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse
from urllib3.util.wait import wait_for_read

__all__ = ["listen_while_sending"]

_GRACE = 5.0
"""Seconds to wait for the answer of a server that no longer takes what is sent."""


class _Listening(HTTPConnection):
    _fault: OSError | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._fault = None
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        try:
            if self.sock is not None and self._has_answer():
                raise BrokenPipeError("the server answered or hung up before the end")
            super().send(data)
        except OSError as fault:
            self._fault = fault
            # The one error upon which urllib3 reads what the server had to say.
            raise BrokenPipeError(str(fault)) from fault

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        fault = self._fault
        if fault is None:
            return super().getresponse()
        if isinstance(self.timeout, int | float):
            self.timeout = min(self.timeout, _GRACE)
        with contextlib.suppress(Exception):
            response = super().getresponse()
            self._forget_socket()
            return response
        raise fault

    def _forget_socket(self) -> None:
        """Let no other request follow one of which a part is missing; the answer stays readable."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def _has_answer(self) -> bool:
        return bool(wait_for_read(self.sock, timeout=0))


class _ListeningTls(_Listening, HTTPSConnection):
    def _has_answer(self) -> bool:
        """Not to be known: session tickets make the socket readable as well."""
        return False


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Listening


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _ListeningTls


def listen_while_sending(manager: PoolManager) -> None:
    """Make the connections of a manager notice early answers."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
