"""A socket that only the user can reach who made it (unix(7)).

A port of loopback can be asked by every user of the machine, and by a page in a browser. It stands
in where there are no such sockets (Windows): the secret of the API is then all that protects it.
"""

from __future__ import annotations

import errno
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from orthanc_gcp.users import own_id

__all__ = ["PrivateSocket", "private_socket", "remove_socket"]

_PREFIX, _NAME = "orthanc-gcp-", "worker.sock"
_FOLDERS = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108 - the folder in it is private # nosec B108
"""Where a socket may be; the first may have too long a name for one (unix(7))."""
_MADE_WITHIN = 60.0
"""Seconds after which a socket that nobody listens at is abandoned."""
_WAITING = 64
"""Connections that the kernel accepts before the server does."""


class PrivateSocket(NamedTuple):
    """A socket that listens, and where: a file that only its owner can reach, or a TCP port."""

    socket: socket.socket
    place: Path | int


@contextmanager
def private_socket() -> Iterator[PrivateSocket]:
    """A socket in a new folder of its own, which is removed with it.

    Raises
    ------
    OSError
        There is no place for it.
    """
    if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
        with _loopback() as listening:
            yield PrivateSocket(listening, listening.getsockname()[1])
        return
    _remove_abandoned()
    made = _made()
    try:
        yield made
    finally:
        made.socket.close()
        remove_socket(made.place)


def remove_socket(path: Path | int) -> None:
    """Remove the socket of a process that has ended, with its folder; nothing else."""
    if not isinstance(path, int) and path.name == _NAME and path.parent.name.startswith(_PREFIX):
        shutil.rmtree(path.parent, ignore_errors=True)


def _loopback() -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows gives others the same port without it
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen(_WAITING)
    except OSError:
        listening.close()
        raise
    return listening


def _made() -> PrivateSocket:
    for place in _FOLDERS:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        path = folder / _NAME
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(path))
            path.chmod(0o600)
            listening.listen(_WAITING)
        except OSError:  # the name is too long, or there are no sockets on this file system
            listening.close()
            remove_socket(path)
        else:
            return PrivateSocket(listening, path)
    raise OSError(errno.EADDRNOTAVAIL, "no socket can be made", _FOLDERS[0])


def _remove_abandoned() -> None:
    """Remove the sockets of workers that were killed, and whose Orthanc was, too."""
    for place in set(_FOLDERS):
        for path in Path(place).glob(f"{_PREFIX}*/{_NAME}"):
            with suppress(OSError):
                if _is_old_and_own(path) and not _answers(path):
                    remove_socket(path)


def _is_old_and_own(path: Path) -> bool:
    """Whether it is a socket in a folder of this user, and not one that is just being made.

    Others may put there what they like, and links to what is this user's.
    """
    folder, made = path.parent.lstat(), path.lstat()
    is_own = folder.st_uid == made.st_uid == own_id()
    is_old = time.time() - made.st_mtime > _MADE_WITHIN
    return is_own and is_old and stat.S_ISDIR(folder.st_mode) and stat.S_ISSOCK(made.st_mode)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        return caller.connect_ex(str(path)) != errno.ECONNREFUSED
