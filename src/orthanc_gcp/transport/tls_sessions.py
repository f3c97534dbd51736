"""TLS connections that go on with the session of the last one to the same host.

That spares the certificates and their verification (RFC 8446 §2.2, resumption by a pre-shared key;
RFC 5077 before TLS 1.3). A server sends the ticket for it after the handshake, with its first
answer, so only then is there a session that can be resumed.
"""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Any

__all__ = ["ResumingContext"]

MOST_HOSTS = 32
"""A client of one store has one host; one of token endpoints a few."""


class ResumingContext(ssl.SSLContext):
    """What servers are judged by, and the newest session with each of them.

    Sessions are only those of servers that were verified by this very context.
    """

    def __init__(self, _protocol: int) -> None:
        self._sessions: dict[str, ssl.SSLSession] = {}

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
            made.load_verify_locations(authorities)
        else:
            made.load_default_certs()
        if (log := os.environ.get("SSLKEYLOGFILE")) and not sys.flags.ignore_environment:
            made.keylog_filename = log
        return made

    def wrap_socket(self, sock: Any, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Make a connection of a socket, with the last session of its server."""
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
