"""What pynetdicom leaves open below DIMSE: limits of time and size, and TCP's acknowledgements.

pynetdicom's private classes are extended here; the minor version is pinned for that, and the tests
of this room show whether another one still fits.
"""

from __future__ import annotations

import logging
import queue
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, N_ACTION_RQ
from pynetdicom.dimse_primitives import C_CANCEL, C_FIND, C_GET, C_MOVE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from orthanc_gcp.gateway.spool import Spool
from orthanc_gcp.logs import places

__all__ = [
    "BoundedDimse",
    "BoundedSocket",
    "EncodedMessage",
    "GuardedDul",
    "acknowledge_at_once",
]

_log = logging.getLogger(__name__)

LONGEST_PDU = 1024 * 1024
"""Of one that is received: a request for an association with all contexts fits into it."""
LONGEST_MESSAGE = 1024 * 1024
LONGEST_ACTION = 8 * 1024 * 1024
"""Of a request for storage commitment, of which none waits for the one before."""
_DATA_TRANSFER = "Sta6"
"""The state in which messages are sent (PS3.8 §9.2.1)."""
MOST_WAITING = 16
"""So many requests wait for the one before: only one is allowed at a time (PS3.7 §D.3.3.3)."""
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def acknowledge_at_once(connection: socket.socket) -> None:
    """Have TCP acknowledge what comes, and send what is written, without waiting for more.

    Peers that leave Nagle's algorithm on wait for each acknowledgement: Linux delays it by 40 ms,
    unless it is asked again and again not to (tcp(7), ``TCP_QUICKACK``).
    """
    if _QUICKACK is not None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except OSError:
            return  # it has been closed, which reading and writing will find


class BoundedSocket(AssociationSocket):
    """A connection on which a PDU has a largest size, and a time in which all of it has come."""

    def __init__(self, association: Any, connection: socket.socket, timeout: float) -> None:
        super().__init__(association, client_socket=connection)
        self._timeout = timeout

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, or fewer where the connection has ended.

        Raises
        ------
        OSError
            It takes too long, is too long, or the connection is broken.
        """
        connection = self.socket
        if connection is None or nr_bytes > LONGEST_PDU:
            raise OSError("a PDU of this length is not read")
        deadline = time.monotonic() + self._timeout
        received = bytearray()
        while len(received) < nr_bytes:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            acknowledge_at_once(connection)
            piece = connection.recv(min(nr_bytes - len(received), 64 * 1024))
            if not piece:
                break
            received += piece
        return received

    def send(self, bytestream: bytes) -> None:
        """Send it all; a peer that does not read it in time has broken off."""
        connection = self.socket
        try:
            if connection is not None:
                connection.settimeout(self._timeout)
                connection.sendall(bytestream)
                acknowledge_at_once(connection)
                return
        except OSError:
            pass
        self.event_queue.put("Evt17")  # transport connection closed (PS3.8 §9.2)

    def _shutdown_socket(self) -> None:
        """Close it, also where the other side has gone before."""
        connection = self.socket
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@dataclass(frozen=True)
class EncodedMessage:
    """PDUs as they go over the wire, in one write."""

    data: bytes


class GuardedDul(DULServiceProvider):
    """The upper layer, which ends its association when it meets what it was not made for."""

    _has_sent = False

    def run_reactor(self) -> None:
        """Run until the connection has ended."""
        try:
            super().run_reactor()
        except Exception as error:
            _log.info("a connection is closed: what came is no DICOM\n%s", places(error))
        finally:
            self.assoc.is_established = False
            if self.socket is not None:
                self.socket.close()
            self.to_user_queue.put(None)  # nobody waits for a request that will not come

    def _process_recv_primitive(self) -> bool:
        """Whether there is something to send; what has come is read in between.

        Otherwise, C-CANCEL would be read after the last answer.
        """
        if self._has_sent and self.socket is not None and self.socket.ready:
            self._has_sent = False
            return False
        self._has_sent = False
        waiting = self.to_provider_queue
        if not waiting.qsize():
            return False
        if isinstance(waiting.queue[0], EncodedMessage):
            self._write_encoded(waiting.get(block=False))
            return False
        self._has_sent = bool(super()._process_recv_primitive())
        return self._has_sent

    def _write_encoded(self, message: Any) -> None:
        """Write a message that is encoded already.

        It is written by this thread as all others are: no two may use a TLS connection at once.
        """
        if self.socket is not None and self.state_machine.current_state == _DATA_TRANSFER:
            self.socket.send(message.data)


class _Requests(queue.Queue[Any]):
    """Requests in their order; one makes those C-CANCELs void that came before it."""

    def __init__(self, cancelled: dict[int, C_CANCEL]) -> None:
        super().__init__()
        self._cancelled = cancelled

    def _put(self, item: Any) -> None:
        if isinstance(item[1], C_FIND | C_GET | C_MOVE):
            self._cancelled.pop(int(item[1].MessageID or 0), None)
        super()._put(item)


class BoundedDimse(DIMSEServiceProvider):
    """Messages of a bounded size, of which a bounded number waits.

    Parameters
    ----------
    spool_of
        The number of a presentation context -> what takes the data set of a C-STORE; None where it
        is not for any.
    """

    def __init__(
        self, association: Any, spool_of: Callable[[int], Spool | None] = lambda _: None
    ) -> None:
        super().__init__(association)
        self.msg_queue = _Requests(self.cancel_req)
        self._spool_of = spool_of
        self._received = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take fragments of messages in, or end the association."""
        for context_id, data in primitive.presentation_data_value_list:
            self._received += 0 if self._spool is not None else len(data)
            waiting = self.msg_queue.qsize()
            is_action = isinstance(self.message, N_ACTION_RQ) and not waiting
            longest = LONGEST_ACTION if is_action else LONGEST_MESSAGE
            if self._received > longest or waiting >= MOST_WAITING:
                self.dul.event_queue.put("Evt19")  # unexpected PDU: the association is aborted
                return
            fragment = P_DATA()
            whole: Any = [[context_id, data]]  # lists, whatever its annotations say
            fragment.presentation_data_value_list = whole
            super().receive_primitive(fragment)
            if self.message is None:
                self._received = 0
            elif isinstance(self.message, C_STORE_RQ) and self._spool is None:
                self._begin_spool(self.message, context_id)

    def _begin_spool(self, message: Any, context_id: int) -> None:
        message._data_set_file = self._spool_of(context_id)

    def close(self) -> None:
        """Keep nothing of what was received and not served."""
        spools = [self._spool]
        with suppress(queue.Empty):
            while True:
                _, message = self.msg_queue.get_nowait()
                spools.append(getattr(message, "_dataset_file", None))
        for one in spools:
            if one is not None:
                one.close()

    @property
    def _spool(self) -> Spool | None:
        """What takes the data set that is being received."""
        message: Any = self.message
        spool: Spool | None = None if message is None else message._data_set_file
        return spool
