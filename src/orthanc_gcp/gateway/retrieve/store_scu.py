"""An association with the destination of a C-MOVE, on a socket of its own (PS3.8, PS3.7 §9.3.1).

One thread sends and reads: each instance is one write or a few, and one answer.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orthanc_gcp.gateway.retrieve.associate_pdus import (
    MOST_CONTEXTS,
    Accepted,
    MalformedPduError,
    associate_request,
    pdu,
    read_accept,
)
from orthanc_gcp.gateway.retrieve.file_meta import FileMeta
from orthanc_gcp.gateway.retrieve.store_request import (
    Originator,
    StoreResponse,
    command,
    read_response,
    writes,
)
from orthanc_gcp.gateway.transport import LONGEST_PDU, acknowledge_at_once

__all__ = ["Destination", "DestinationError", "StoreAssociation", "Syntax"]

Syntax = tuple[str, str]
"""A SOP class, and a transfer syntax."""
_LONGEST_RESPONSE = 64 * 1024
_RELEASE_WITHIN = 5.0
_ACCEPT, _REJECT, _DATA, _RELEASE, _RELEASED, _ABORT = 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
_PERMANENT = 1
_REASONS = {
    (1, 2): "it does not support the application context",
    (1, 3): "it does not know the calling AE title",
    (1, 7): "it does not know the called AE title",
    (3, 1): "it is busy",
    (3, 2): "it has too many associations",
}
"""Source and reason of A-ASSOCIATE-RJ (PS3.8 §9.3.4)."""


class DestinationError(Exception):
    """An association with a destination was not made, or has ended; the message says why.

    Attributes
    ----------
    retryable
        Whether another one may do.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True)
class Destination:
    """Where instances are sent.

    Attributes
    ----------
    aet, calling
        Its AE title, and by which it is called upon.
    timeout
        Seconds that a connection, a write or an answer may take.
    tls
        None for connections without TLS.
    implementation
        Implementation Class UID and Implementation Version Name of this program.
    """

    aet: str
    host: str
    port: int
    calling: str
    timeout: float
    maximum_length: int
    implementation: tuple[str, str]
    tls: ssl.SSLContext | None = None


class StoreAssociation:
    """An association on which instances are stored; one thread uses it, another may close it."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._connection: socket.socket | None = None
        self._is_closed = self._is_established = self._is_storing = False
        self._accepted = Accepted(frozenset(), 0)
        self._proposed: tuple[Syntax, ...] = ()
        self._message_id = 0
        self._received = bytearray()

    @property
    def proposed(self) -> tuple[Syntax, ...]:
        """What was asked for."""
        return self._proposed

    @property
    def is_established(self) -> bool:
        """Whether the destination has ever accepted it."""
        return self._is_established

    @property
    def is_usable(self) -> bool:
        """Whether it is there, and not in the middle of an instance."""
        return self._is_established and not self._is_storing and not self._is_closed

    def context(self, syntax: Syntax) -> int | None:
        """The ID of the presentation context for a SOP class and transfer syntax; None for none."""
        if syntax not in self._proposed:
            return None
        number = 2 * self._proposed.index(syntax) + 1
        return number if number in self._accepted.contexts else None

    def open(self, proposed: Sequence[Syntax]) -> None:
        """Connect, and agree on presentation contexts.

        Raises
        ------
        DestinationError
            The destination cannot be reached, or rejects, or answers with nonsense.
        """
        self._proposed = tuple(proposed[:MOST_CONTEXTS])
        own = self._destination
        self._connect()
        self._write(
            associate_request(
                own.aet, own.calling, self._proposed, own.maximum_length, own.implementation
            )
        )
        kind, content = self._read()
        if kind == _REJECT and len(content) >= 4:
            reason = _REASONS.get((content[2], content[3]), "it gives no reason")
            words = f"it rejects the association: {reason}"
            raise self._failed(words, retryable=content[1] != _PERMANENT)
        if kind != _ACCEPT:
            raise self._failed("it does not accept the association")
        try:
            self._accepted = read_accept(content)
        except MalformedPduError:
            raise self._failed("it accepts the association with nonsense") from None
        self._is_established = True

    def store(
        self, syntax: Syntax, meta: FileMeta, data_set: Iterator[bytes], originator: Originator
    ) -> StoreResponse:
        """Store an instance, and wait for the answer.

        What ``data_set`` raises comes out of it, and leaves the association in the middle of a
        message: it has to be closed.

        Raises
        ------
        DestinationError
            The association has ended: whether the instance was stored is not known.
        """
        context = self.context(syntax)
        if context is None:
            raise self._failed("no presentation context was agreed on")
        self._message_id = self._message_id % 0xFFFF + 1
        command_set = command(self._message_id, meta, originator)
        self._is_storing = True
        for piece in writes(context, command_set, data_set, self._accepted.maximum_length):
            self._write(piece)
        response = read_response(self._response())
        if response is None or response.message_id != self._message_id:
            raise self._failed("it answers with what is no response to C-STORE")
        self._is_storing = False
        return response

    def release(self) -> None:
        """End it in due form, if it is still there, and close the connection."""
        with suppress(DestinationError):
            self._write(pdu(_RELEASE, bytes(4)))
            until = time.monotonic() + min(_RELEASE_WITHIN, self._destination.timeout)
            while time.monotonic() < until and self._read()[0] != _RELEASED:
                pass
        self.close()

    def abort(self) -> None:
        """End it at once, in the middle of whatever it is (A-ABORT, PS3.8 §9.3.8)."""
        with suppress(DestinationError):
            self._write(pdu(_ABORT, bytes(4)))
        self.close()

    def close(self) -> None:
        """Close the connection, also while another thread waits for it."""
        self._is_closed = True
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                connection.close()

    # -- Below DIMSE ------------------------------------------------------------------------------

    def _connect(self) -> None:
        own = self._destination
        try:
            connection = socket.create_connection((own.host, own.port), own.timeout)
            self._connection = connection
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if own.tls is not None:
                self._connection = own.tls.wrap_socket(connection, server_hostname=own.host)
        except (OSError, ValueError, UnicodeError) as error:
            raise self._failed(f"it cannot be reached ({_words(error)})") from None

    def _write(self, data: bytes) -> None:
        connection = self._connection
        if connection is None or self._is_closed:
            raise self._failed("the association was closed")
        try:
            connection.settimeout(self._destination.timeout)
            connection.sendall(data)
            acknowledge_at_once(connection)
        except OSError as error:
            raise self._failed(f"it has broken off ({_words(error)})") from None

    def _response(self) -> bytes:
        """The command set of the next message, which has no data set."""
        command_set = bytearray()
        while True:
            kind, content = self._read()
            if kind == _RELEASE:
                raise self._failed("it has asked for the end of the association")
            if kind != _DATA:
                raise self._failed("it answers with what is no response")
            place = 0
            while place + 6 <= len(content):
                (length,) = struct.unpack_from(">L", content, place)
                if length < 2 or place + 4 + length > len(content):
                    raise self._failed("it answers with nonsense")
                flags = content[place + 5]
                command_set += content[place + 6 : place + 4 + length]
                place += 4 + length
                if not flags & 1 or len(command_set) > _LONGEST_RESPONSE:
                    raise self._failed("it answers with what is no response")
                if flags & 2:
                    return bytes(command_set)

    def _read(self) -> tuple[int, bytes]:
        """Type and content of the next PDU, all of which has come in time."""
        deadline = time.monotonic() + self._destination.timeout
        self._receive(6, deadline)
        kind, length = struct.unpack_from(">BxL", self._received)
        if length > LONGEST_PDU:
            raise self._failed("it answers with nonsense")
        self._receive(6 + length, deadline)
        content = bytes(self._received[6 : 6 + length])
        del self._received[: 6 + length]
        if kind == _ABORT:
            raise self._failed("it has aborted the association")
        return kind, content

    def _receive(self, length: int, deadline: float) -> None:
        connection = self._connection
        while len(self._received) < length:
            try:
                if connection is None or self._is_closed:
                    raise self._failed("the association was closed")
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                acknowledge_at_once(connection)
                piece = connection.recv(64 * 1024)
            except OSError as error:
                raise self._failed(f"it does not answer ({_words(error)})") from None
            if not piece:
                raise self._failed("it has hung up")
            self._received += piece

    def _failed(self, words: str, *, retryable: bool = True) -> DestinationError:
        self.close()
        return DestinationError(words, retryable=retryable)


def _words(error: Exception) -> str:
    """What went wrong below DICOM, in the system's words or by its name."""
    if isinstance(error, TimeoutError):
        return "timeout"
    strerror = getattr(error, "strerror", None)
    return str(strerror) if strerror and not isinstance(error, ssl.SSLError) else _name(error)


def _name(error: Exception) -> str:
    reason = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    return f"TLS: {reason}" if isinstance(error, ssl.SSLError) and reason else type(error).__name__
