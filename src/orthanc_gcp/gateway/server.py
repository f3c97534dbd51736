"""Listens for workstations: so many connections at once, each served by a thread of its own."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from socketserver import BaseRequestHandler, TCPServer, ThreadingMixIn
from typing import Any

from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from orthanc_gcp.gateway.association import WorkstationAssociation
from orthanc_gcp.gateway.transport import BoundedSocket, acknowledge_at_once

__all__ = ["Server"]

_log = logging.getLogger(__name__)

_MORE = 16
"""So many more connections are open than associations are accepted, to be rejected in due form."""
_STOP_WITHIN = 2.0

Make = Callable[[bool, Callable[[], None]], WorkstationAssociation]
"""Makes an association: whether there are too many, and what is called when it has ended."""


class Server(ThreadingMixIn, TCPServer):
    """Accepts connections, and makes an association of each.

    Parameters
    ----------
    most
        So many associations are served at once.
    tls
        None for connections without TLS.

    Raises
    ------
    OSError
        The port cannot be had.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self,
        entity: ApplicationEntity,
        port: int,
        contexts: list[PresentationContext],
        make: Make,
        *,
        most: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._entity, self._contexts, self._make, self._tls = entity, contexts, make, tls
        self.most, self._connections = most, 0
        self._open: set[WorkstationAssociation] = set()
        self._lock = threading.Lock()
        super().__init__(("", port), BaseRequestHandler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def associations(self) -> int:
        """How many there are now."""
        with self._lock:
            return len(self._open)

    def stop(self) -> None:
        """Accept no more, and abort the associations that there are."""
        self.shutdown()
        self.server_close()
        with self._lock:
            left = list(self._open)
        for association in left:
            with suppress(Exception):
                association.abort(block=False)
        for association in left:
            association.join(_STOP_WITHIN / len(left))

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection; TLS is agreed on later, for one that says nothing must stop none."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        acknowledge_at_once(connection)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a thread, or close it where there are too many."""
        with self._lock:
            full = self._connections >= self.most + _MORE
            self._connections += not full
        if full:
            _log.warning("a connection from %s was closed: there are too many", client_address[0])
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:  # no thread can be started just now
            self._leave()
            self.shutdown_request(request)
            _log.warning("a connection from %s was closed: %s", client_address[0], error)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Make an association of a connection; what fails costs this connection only."""
        try:
            connection = self._secured(request)
            self._begin(self._associate(connection, client_address))
        except BaseException as error:
            self._leave()
            request.close()
            if isinstance(error, RuntimeError):  # no thread can be started just now
                _log.warning("a connection from %s was closed: %s", client_address[0], error)
            elif not isinstance(error, OSError | ValueError):
                raise
            elif not isinstance(error, ConnectionError):
                _log.warning("no TLS with %s: %s", client_address[0], type(error).__name__)

    def _secured(self, connection: socket.socket) -> socket.socket:
        connection.settimeout(self._entity.acse_timeout)
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_side=True)

    def _associate(self, connection: socket.socket, address: Any) -> WorkstationAssociation:
        with self._lock:
            crowded = len(self._open) >= self.most
        association = self._make(crowded, lambda: self._forget(association))
        association.name = "gcp-association"
        association.set_socket(
            BoundedSocket(association, connection, self._entity.network_timeout or 0)
        )
        own, peer = association.acceptor, association.requestor
        own.maximum_length = self._entity.maximum_pdu_size
        own.ae_title = self._entity.ae_title
        own.address_info = AddressInformation("", self.port)
        own.implementation_class_uid = self._entity.implementation_class_uid
        own.implementation_version_name = self._entity.implementation_version_name
        own.supported_contexts = self._contexts  # which nobody changes
        peer.address_info = AddressInformation.from_tuple(address)
        return association

    def _begin(self, association: WorkstationAssociation) -> None:
        with self._lock:
            self._open.add(association)
        try:
            association.start()
        except BaseException:
            with self._lock:
                self._open.discard(association)
            raise

    def _forget(self, association: WorkstationAssociation) -> None:
        with self._lock:
            self._open.discard(association)
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._connections -= 1
