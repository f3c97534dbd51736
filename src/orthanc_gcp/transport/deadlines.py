"""Connections on which nothing lasts for ever: neither an answer nor the sending of a request.

The time limit of a socket is one of silence: who sends a byte now and then never meets it. Here the
head of an answer has to be there within the limit, whatever comes before it; what is interim (1xx)
is no answer (RFC 9110 §15.2). A body may take as long as it flows: the limit, and a second more for
each ``SLOWEST`` bytes. Only waiting for the other side counts, not what is done with the bytes.

Nor is a connection used again that nothing has used for ``LONGEST_IDLE``: a firewall may have
forgotten it without a word, and each request on it would wait for the time limit in vain.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse

from orthanc_gcp.transport.tls_sessions import ResumingContext

__all__ = [
    "BoundedConnection",
    "BoundedResponse",
    "BoundedTlsConnection",
    "ClosedWhileIdleError",
    "ConsecutiveResponses",
    "EndlessInterimError",
    "WholeConnection",
    "bound_answers",
    "bound_exchanges",
]

SLOWEST = 1024
"""Bytes a second that a body flows with at least, on the mean."""
LONGEST_IDLE = 45.0
"""Seconds. Proxies end what is idle for a minute (Squid's ``pconn_timeout``, NGINX's
``keepalive_timeout`` of 75 s), firewalls and NAT after some minutes, mostly without saying so."""
FIRST_ADDRESSES, TRIED_LAST_FOR = 3.0, 600.0
"""Seconds that each address of a host but the last may take at most to be connected to, and for
which one that did not let itself be is tried last: IPv6 often leads nowhere (RFC 8305, RFC 6724).
"""
MOST_INTERIM = 10_000
"""So many interim answers may come before the final one, as during an upload of hours."""


class _Allowance:
    """How long the other side may still be waited for."""

    def __init__(self, limit: float | None) -> None:
        self._limit, self._waited, self._bytes = limit, 0.0, 0

    def left(self) -> float | None:
        """Seconds; None without a limit.

        Raises
        ------
        TimeoutError
            There are none.
        """
        if self._limit is None:
            return None
        left = self._limit + self._bytes / SLOWEST - self._waited
        if left <= 0:
            raise TimeoutError("it takes too long")
        return min(left, self._limit)

    def use(self, seconds: float, count: int) -> None:
        """So many bytes have been waited for so long."""
        self._waited += seconds
        self._bytes += count


class _Reader(io.RawIOBase):
    """What comes from a socket: a head within its time limit, then a body as long as it flows.

    Parameters
    ----------
    ahead
        What has been read of it already.
    """

    def __init__(self, sock: Any, ahead: bytes = b"") -> None:
        self._socket, self._raw = sock, sock.makefile("rb", buffering=0)
        self._ahead = ahead
        self._limit: float | None = sock.gettimeout()
        self._applied = self._limit
        self.begin_head()

    def begin_head(self) -> None:
        """An answer is waited for from now on."""
        now = time.monotonic()
        self._deadline: float | None = None if self._limit is None else now + self._limit
        self._body: _Allowance | None = None

    def begin_body(self) -> None:
        """The head is there."""
        if self._body is None:
            self._body = _Allowance(self._limit)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read some bytes, as soon as there are any."""
        if self._ahead:
            some = min(len(buffer), len(self._ahead))
            buffer[:some], self._ahead = self._ahead[:some], self._ahead[some:]
            return some
        began = time.monotonic()
        self._apply(self._left(began))
        count: int | None = self._raw.readinto(buffer)
        if self._body is not None:
            self._body.use(time.monotonic() - began, count or 0)
        return count

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()

    def _left(self, now: float) -> float | None:
        if self._body is not None:
            return self._body.left()
        if self._deadline is None:
            return None
        if now >= self._deadline:
            raise TimeoutError("the head of the answer takes too long")
        return self._deadline - now

    def _apply(self, left: float | None) -> None:
        if left != self._applied:
            self._socket.settimeout(left)
            self._applied = left


class _AsSocket:
    """A reader where a socket is expected."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(self.reader)


class _Shared(_AsSocket):
    """A reader of one answer after the other: what was read ahead is the next one's."""

    def __init__(self, reader: _Reader) -> None:
        super().__init__(reader)
        self._buffer = _StaysOpen(reader)

    def makefile(self, _: str) -> io.BufferedReader:
        return self._buffer


class _StaysOpen(io.BufferedReader):
    """Not closed by the answer that has been read to its end."""

    def close(self) -> None:
        """Nothing: the connection is closed by whoever has opened it."""


class EndlessInterimError(http.client.BadStatusLine):
    """Interim answers (1xx) come, and no other."""


class BoundedResponse(http.client.HTTPResponse):
    """A final answer, whose head is there within the time limit of its socket.

    Parameters
    ----------
    ahead
        What has been read from the socket already.
    """

    def __init__(self, sock: Any, *arguments: Any, ahead: bytes = b"", **options: Any) -> None:
        there = sock if isinstance(sock, _AsSocket) else _AsSocket(_Reader(sock, ahead))
        self._reader = there.reader
        super().__init__(there, *arguments, **options)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Read its head, and what is interim before that.

        Raises
        ------
        TimeoutError
            It takes too long.
        http.client.HTTPException
            It is none, or far too much comes before it.
        """
        super().begin()
        for _ in range(MOST_INTERIM):
            if self.status >= 200:
                break
            self.headers = self.msg = None  # type: ignore[assignment]  # as before it was begun
            super().begin()
        else:
            raise EndlessInterimError("interim answers without end")
        self._begin_body()

    def _begin_body(self) -> None:
        self._reader.begin_body()


class _WholeResponse(BoundedResponse):
    """An answer that is there to its last byte within the time limit."""

    def _begin_body(self) -> None:
        """The same deadline goes on."""


class ConsecutiveResponses:
    """The answers to requests that were sent ahead (RFC 9112 §9.3.2), each whole within the limit.

    Parameters
    ----------
    sock
        A socket with a time limit; it is closed by whoever has opened it.
    """

    def __init__(self, sock: Any) -> None:
        self._shared = _Shared(_Reader(sock))
        self._begun = False

    def peek(self) -> bytes:
        """What has come of the next answer, and of those behind it; nothing at the end.

        Raises
        ------
        TimeoutError
            It takes too long.
        OSError
            Nothing comes any more.
        """
        self._begin()
        return self._shared.makefile("rb").peek(1)

    def skip(self, count: int) -> None:
        """The next answer had so many bytes, all of which have been seen."""
        self._shared.makefile("rb").read(count)
        self._begun = False

    def _begin(self) -> None:
        """The time limit of an answer begins once."""
        if not self._begun:
            self._shared.reader.begin_head()
            self._begun = True

    def next(self) -> http.client.HTTPResponse:
        """The next answer, its head read; its body has to be before the one after it is asked for.

        Raises
        ------
        TimeoutError
            It takes too long.
        OSError, http.client.HTTPException
            There is none.
        """
        self._begin()
        self._begun = False
        response = _WholeResponse(self._shared)
        response.begin()
        return response


class ClosedWhileIdleError(http.client.RemoteDisconnected):
    """A connection was ended just when it was used again (RFC 9112 §9.5)."""


_CLOSED = (ConnectionError, ssl.SSLEOFError)
_tried_last: dict[str, float] = {}
"""Addresses that did not let themselves be connected to -> until when, by the monotonic clock."""


def _addresses(host: str, port: int | None) -> list[str]:
    """Those of a host, or its name where it can be none.

    Raises
    ------
    socket.gaierror
        There are none, or no name server says so.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise  # to ask again would only take as long again
    except (OSError, UnicodeError):
        return [host]  # urllib3 says what is wrong with it
    addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
    now = time.monotonic()
    addresses.sort(key=lambda address: _tried_last.get(address, now) > now)
    return addresses


def _try_last(address: str) -> None:
    """An address does not let itself be connected to."""
    now = time.monotonic()
    for one in [one for one, until in list(_tried_last.items()) if until <= now]:
        _tried_last.pop(one, None)
    _tried_last[address] = now + TRIED_LAST_FOR


class BoundedConnection(HTTPConnection):
    """A connection whose answers are bounded, and on which sending ends."""

    response_class = BoundedResponse
    _sending: _Allowance | None = None
    _used_at = float("-inf")
    _is_used_again = False

    @property
    def is_connected(self) -> bool:
        """Whether another request may be sent on it."""
        is_idle = time.monotonic() - self._used_at > LONGEST_IDLE
        return super().is_connected and not (self._is_used_again and is_idle)

    def connect(self) -> None:
        """Open it."""
        self._is_used_again = False
        super().connect()

    def _new_conn(self) -> socket.socket:
        """A connection to one of the addresses of the host, none of which holds up the others.

        All of them together have the time limit of one.
        """
        host, limit = self._dns_host, self.timeout
        try:
            *first, last = _addresses(host, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        each = min(FIRST_ADDRESSES, limit / (len(first) + 1)) if limit else FIRST_ADDRESSES
        try:
            self.timeout = each
            for self._dns_host in first:
                with contextlib.suppress(NewConnectionError, ConnectTimeoutError):
                    made = super()._new_conn()
                    made.settimeout(limit)
                    return made
                _try_last(self._dns_host)
            self._dns_host, self.timeout = last, limit and limit - each * len(first)
            made = super()._new_conn()
            made.settimeout(limit)
            return made
        finally:
            self._dns_host, self.timeout = host, limit

    def request(self, *arguments: Any, **options: Any) -> None:
        """Send a request."""
        self._sending = None
        super().request(*arguments, **options)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """The answer to the request that was sent, as far as its head.

        Raises
        ------
        ClosedWhileIdleError
            The other side has ended the connection, after other answers and without this one.
        """
        try:
            response = super().getresponse()
        except _CLOSED as error:
            self.note_closed(error)
            raise
        self._used_at, self._is_used_again = time.monotonic(), True
        return response

    def note_closed(self, error: OSError) -> None:
        """It has ended before an answer.

        Raises
        ------
        ClosedWhileIdleError
            There were answers before.
        """
        if self._is_used_again and isinstance(error, _CLOSED):
            raise ClosedWhileIdleError(str(error)) from error

    def send(self, data: Any) -> None:
        """Send some bytes, as long as the other side takes them.

        Raises
        ------
        TimeoutError
            It has taken none within the time limit, or far too few.
        """
        if self.sock is None or not isinstance(data, bytes | bytearray | memoryview):
            super().send(data)
            return
        allowance = self._sending = self._sending or _Allowance(self.sock.gettimeout())
        rest = memoryview(data)
        while rest:
            allowance.left()
            began = time.monotonic()
            count = self.sock.send(rest)
            allowance.use(time.monotonic() - began, count)
            rest = rest[count:]


class BoundedTlsConnection(BoundedConnection, HTTPSConnection):
    """The same over TLS, which goes on with the session of the last one."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """The answer to the request that was sent, as far as its head."""
        connection = self.sock
        response = super().getresponse()
        if isinstance(self.ssl_context, ResumingContext):
            self.ssl_context.remember(connection)
        return response


class WholeConnection(BoundedConnection):
    """A connection whose answers are there as a whole within the time limit."""

    response_class = _WholeResponse


class _WholeTlsConnection(BoundedTlsConnection):
    response_class = _WholeResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = BoundedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = BoundedTlsConnection


class _WholePool(HTTPConnectionPool):
    ConnectionCls = WholeConnection


class _WholeTlsPool(HTTPSConnectionPool):
    ConnectionCls = _WholeTlsConnection


def bound_answers(manager: PoolManager) -> None:
    """Let the head of each answer be there within the limit, and its body flow."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def bound_exchanges(manager: PoolManager) -> None:
    """Let each answer be there as a whole, from its first to its last byte, within the limit."""
    manager.pool_classes_by_scheme = {"http": _WholePool, "https": _WholeTlsPool}
