"""C-ECHO over a plain socket, timed: the connector has no library for DIMSE (PS3.7, PS3.8)."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Caller", "EchoError", "Times", "echo"]

_APPLICATION, _VERIFICATION = b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.1.1"
_IMPLICIT, _IMPLEMENTATION = b"1.2.840.10008.1.2", b"1.2.826.0.1.3680043.9.3811.3.0.4"
_ACCEPTED, _REJECTED, _DATA, _RELEASE = 2, 3, 4, 5
_LARGEST_PDU = 128 * 1024
_MOST_PDUS = 16
_EACH = 8
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_REASONS = {1: "no reason given", 3: "it does not know {calling}", 7: "it is not called {called}"}
"""Of the service-user (PS3.8 §9.3.4)."""


class EchoError(Exception):
    """No answer came, or another one; the message says what."""


@dataclass(frozen=True)
class Caller:
    """Who asks whom, by AE title."""

    calling: str
    called: str


@dataclass(frozen=True)
class Times:
    """The median of some C-ECHOs, in seconds.

    Attributes
    ----------
    delayed
        While this machine acknowledges what comes as it likes, 40 ms later on Linux.
    at_once
        While it acknowledges at once; None where it cannot be made to.
    """

    delayed: float
    at_once: float | None


def echo(
    caller: Caller,
    host: str,
    port: int,
    *,
    within: float,
    tls: ssl.SSLContext | None = None,
) -> Times:
    """Ask some times.

    Parameters
    ----------
    within
        Seconds that each answer may take.

    Raises
    ------
    EchoError
        It is not reached, rejects the association, or does not answer a C-ECHO with success.
    """
    try:
        with socket.create_connection((host, port), within) as plain:
            connection = plain if tls is None else tls.wrap_socket(plain, server_hostname=host)
            return _on(connection, caller, within)
    except ssl.SSLError as error:
        raise EchoError(f"no TLS ({error.reason or type(error).__name__})") from None
    except TimeoutError:
        raise EchoError(f"it does not answer within {within:g} s") from None
    except OSError as error:
        raise EchoError(error.strerror or type(error).__name__) from None


def _on(connection: socket.socket, caller: Caller, within: float) -> Times:
    connection.settimeout(within)
    connection.sendall(_association(caller))
    kind, content = _pdu(connection)
    if kind == _REJECTED:
        reason = _REASONS.get(content[3], f"reason {content[3]}") if len(content) > 3 else ""
        words = reason.format(calling=caller.calling, called=caller.called)
        raise EchoError(f"it rejects the association: {words}")
    if kind != _ACCEPTED:
        raise EchoError("it answers no DICOM, or aborts the association")
    delayed = _median(connection, quick=False)
    at_once = None if _QUICKACK is None else _median(connection, quick=True)
    connection.sendall(_framed(_RELEASE, bytes(4)))
    return Times(delayed, at_once)


def _median(connection: socket.socket, *, quick: bool) -> float:
    def acknowledge() -> None:
        if _QUICKACK is not None:
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, int(quick))

    times = []
    for number in range(_EACH):
        began = time.perf_counter()
        acknowledge()
        connection.sendall(_request(number + 1))
        _answered(connection, acknowledge)
        times.append(time.perf_counter() - began)
    return sorted(times)[_EACH // 2]


def _answered(connection: socket.socket, acknowledge: Callable[[], None]) -> None:
    """Read the response to a C-ECHO; anything but success is an error."""
    command = b""
    for _ in range(_MOST_PDUS):
        kind, content = _pdu(connection, acknowledge)
        if kind != _DATA or len(content) < 6:
            raise EchoError("it aborts the association, or sends what was not asked for")
        command += content[6:]
        if content[5] & 2:
            break
    place = command.find(struct.pack("<HHL", 0, 0x0900, 2))
    if not 0 <= place < len(command) - 9:
        raise EchoError("its answer has no status")
    (status,) = struct.unpack_from("<H", command, place + 8)
    if status:
        raise EchoError(f"it answers with the status {status:04X}")


def _pdu(
    connection: socket.socket, acknowledge: Callable[[], None] = lambda: None
) -> tuple[int, bytes]:
    head = _bytes(connection, 6, acknowledge)
    kind, length = struct.unpack(">BxL", head)
    if length > _LARGEST_PDU:
        raise EchoError("it answers no DICOM")
    return kind, _bytes(connection, length, acknowledge)


def _bytes(connection: socket.socket, count: int, acknowledge: Callable[[], None]) -> bytes:
    found = b""
    while len(found) < count:
        acknowledge()
        piece = connection.recv(count - len(found))
        if not piece:
            raise EchoError("it ends the connection")
        found += piece
    return found


def _association(caller: Caller) -> bytes:
    """A-ASSOCIATE-RQ for Verification (PS3.8 §9.3.2)."""
    context = bytes([1, 0, 0, 0]) + _item(0x30, _VERIFICATION) + _item(0x40, _IMPLICIT)
    user = _item(0x51, struct.pack(">L", 16384)) + _item(0x52, _IMPLEMENTATION)
    called, calling = (one.encode("ascii").ljust(16) for one in (caller.called, caller.calling))
    fixed = struct.pack(">HH16s16s32x", 1, 0, called, calling)
    return _framed(1, fixed + _item(0x10, _APPLICATION) + _item(0x20, context) + _item(0x50, user))


def _request(message: int) -> bytes:
    """C-ECHO-RQ in one P-DATA-TF (PS3.7 §9.3.5.1, PS3.8 §9.3.5)."""
    elements = (
        (0x0002, _VERIFICATION + b"\0"),
        (0x0100, struct.pack("<H", 0x0030)),
        (0x0110, struct.pack("<H", message)),
        (0x0800, struct.pack("<H", 0x0101)),
    )
    body = b"".join(struct.pack("<HHL", 0, tag, len(one)) + one for tag, one in elements)
    body = struct.pack("<HHLL", 0, 0, 4, len(body)) + body
    return _framed(_DATA, struct.pack(">LBB", len(body) + 2, 1, 3) + body)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _framed(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(content)) + content
