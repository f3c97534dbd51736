"""TLS connections that go on with the session of the last one to the same host.

That spares the certificates and their verification (RFC 8446 §2.2, resumption by a pre-shared key;
RFC 5077 before TLS 1.3). A server sends the ticket for it after the handshake, with its first
answer, so only then is there a session that can be resumed.

Files of certificates are replaced while a process runs: the authorities of a company now and then,
a client's certificate every day. What has changed is read again when a connection is made.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["ResumingContext"]

MOST_HOSTS = 32
"""A client of one store has one host; one of token endpoints a few."""


class _Loaded:
    """What was read from files, and is read from them again where they have changed.

    Raises
    ------
    OSError
        They cannot be used.
    """

    def __init__(self, files: Sequence[str | Path], load: Callable[[], None]) -> None:
        self._files, self._load = files, load
        self._state = self._look()
        load()

    def renew(self) -> bool:
        """Whether something else was read.

        Raises
        ------
        OSError
            It cannot be used: it is tried again the next time, as it may be half written.
        """
        state = self._look()
        if state == self._state:
            return False
        self._load()
        self._state = state
        return True

    def _look(self) -> list[tuple[int, int, int]]:
        found = map(os.stat, self._files)
        return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in found]


class ResumingContext(ssl.SSLContext):
    """What servers are judged by, and the newest session with each of them.

    Sessions are only those of servers that were verified by this very context. Authorities that are
    taken out of their file are trusted until the process ends.
    """

    def __init__(self, _protocol: int) -> None:
        self._sessions: dict[str, ssl.SSLSession] = {}
        self._loaded: list[_Loaded] = []

    @classmethod
    def verifying(cls, authorities: Path | None) -> ResumingContext:
        """As :func:`ssl.create_default_context` makes one.

        Raises
        ------
        OSError
            The file of authorities cannot be used.
        """
        made = cls(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificate and host name
        if sys.version_info >= (3, 13):
            made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        if authorities is not None:
            load = partial(made.load_verify_locations, authorities)
            made._loaded.append(_Loaded([authorities], load))
        else:
            made.load_default_certs()
        if (log := os.environ.get("SSLKEYLOGFILE")) and not sys.flags.ignore_environment:
            made.keylog_filename = log
        return made

    def present(self, certificate: str, key: str) -> None:
        """Show servers a certificate of the client's.

        Raises
        ------
        OSError
            The files cannot be used.
        """
        load = partial(self.load_cert_chain, certificate, key)
        self._loaded.append(_Loaded([certificate, key], load))

    def wrap_socket(self, sock: Any, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Make a connection of a socket, with the last session of its server."""
        for one in self._loaded:
            with suppress(OSError):  # what was read before serves on
                if one.renew():
                    self._sessions.clear()
        session = self._sessions.get(options.get("server_hostname") or "")
        return super().wrap_socket(sock, *arguments, **{"session": session, **options})

    def remember(self, connection: Any) -> None:
        """A connection was answered: its session serves the next one to the same server."""
        session = getattr(connection, "session", None)
        host = getattr(connection, "server_hostname", None)
        if session is None or not host or not session.has_ticket:
            return
        if host in self._sessions or len(self._sessions) < MOST_HOSTS:
            self._sessions[host] = session
