"""Connections that notice an answer which comes before the request has been sent.

A server that refuses a large request says so at once, and closes. What it said is worth more than
the broken pipe which follows from it. What is only interim (1xx, RFC 9110 §15.2) is no refusal.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from functools import partial
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.response import HTTPResponse
from urllib3.util.wait import wait_for_read

from orthanc_gcp.transport.deadlines import BoundedConnection, BoundedResponse, BoundedTlsConnection

__all__ = ["listen_while_sending"]

_GRACE = 5.0
"""Seconds to wait for the answer of a server that no longer takes what is sent."""


_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n")
_BEGINS_INTERIM = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_LONGEST_INTERIM = 4096
_MOST_INTERIM = 100
"""So many are skipped at a time."""


class _Listening(BoundedConnection):
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
        self.note_closed(fault)
        raise fault

    def _forget_socket(self) -> None:
        """Let no other request follow one of which a part is missing; the answer stays readable."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def _has_answer(self) -> bool:
        for _ in range(_MOST_INTERIM):
            if not wait_for_read(self.sock, timeout=0):
                return False
            said = self.sock.recv(_LONGEST_INTERIM, socket.MSG_PEEK)
            interim = _INTERIM.match(said)
            if interim is None:
                return not _may_be_interim(said)
            self.sock.recv(interim.end())
        return False


class _ListeningTls(_Listening, BoundedTlsConnection):
    """The same over TLS, of which nothing can be read without being taken from it."""

    _said = b""

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._said = b""
        super().request(*args, **kwargs)

    def _has_answer(self) -> bool:
        sock: Any = self.sock
        if not isinstance(sock, ssl.SSLSocket):  # a proxy is asked for a tunnel, or is TLS itself
            return False
        if not sock.pending() and not wait_for_read(sock, timeout=0):
            return False
        limit = sock.gettimeout()
        sock.settimeout(0)
        try:
            more = sock.recv(_LONGEST_INTERIM)
        except ssl.SSLWantReadError:  # a session ticket, or a part of a record
            return False
        finally:
            sock.settimeout(limit)
        self._said += more
        while interim := _INTERIM.match(self._said):
            self._said = self._said[interim.end() :]
        if not more:
            return True
        return bool(self._said) and not _may_be_interim(self._said)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        self.response_class = partial(BoundedResponse, ahead=self._said)  # type: ignore[assignment]
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Listening


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _ListeningTls


def listen_while_sending(manager: PoolManager) -> None:
    """Make the connections of a manager notice early answers."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _may_be_interim(said: bytes) -> bool:
    """Whether it is the beginning of an interim answer, of which the rest is still to come."""
    if not said or len(said) >= _LONGEST_INTERIM:
        return False
    return any(begin.startswith(said[: len(begin)]) for begin in _BEGINS_INTERIM)
