"""HTTP to a process of this machine: over a socket in a folder (unix(7)), or a TCP port."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from urllib3 import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError

from orthanc_gcp.transport.deadlines import WholeConnection

__all__ = ["UnixPool", "pool_of"]


class _UnixConnection(WholeConnection):
    def __init__(self, *arguments: Any, path: Path, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._path = path

    def _new_conn(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise NewConnectionError(self, f"cannot connect: {error.strerror or error}") from error
        return connection


class UnixPool(HTTPConnectionPool):
    """Connections to one socket, on which each answer is whole within its time limit.

    Parameters
    ----------
    path
        The file of the socket.
    maxsize
        How many are kept open.
    """

    ConnectionCls = _UnixConnection

    def __init__(self, path: Path, maxsize: int) -> None:
        super().__init__("localhost", maxsize=maxsize, retries=False, path=path)


class _LoopbackPool(HTTPConnectionPool):
    ConnectionCls = WholeConnection


def pool_of(place: Path | int, maxsize: int) -> HTTPConnectionPool:
    """Connections to a socket, or to a TCP port of this machine where there are no such sockets.

    Each answer is whole within its time limit.
    """
    if isinstance(place, int):
        return _LoopbackPool("127.0.0.1", place, maxsize=maxsize, retries=False)
    return UnixPool(place, maxsize)
