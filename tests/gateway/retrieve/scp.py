"""Destinations of C-MOVE: one that takes what it is sent, and others that misbehave."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import ThreadedAssociationServer

from orthanc_gcp.gateway.retrieve.associate_pdus import pdu

SECONDARY, CT = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def data_set_of(file: bytes) -> bytes:
    """What a file of ours has behind its meta information."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


@dataclass
class Received:
    """What a destination was sent: by SOP Instance UID, its data set and transfer syntax."""

    port: int = 0
    calling: str = ""
    associations: int = 0
    originators: set[tuple[str, int]] = field(default_factory=set)
    data_sets: dict[str, bytes] = field(default_factory=dict)
    syntaxes: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@contextmanager
def receiving(
    classes: dict[str, list[str]],
    answer: Callable[[Received, Any], int] = lambda _received, _event: 0,
    **options: Any,
) -> Iterator[Received]:
    """A destination that takes SOP classes in some transfer syntaxes."""
    received, lock = Received(), threading.Lock()

    def accepted(event: Any) -> None:
        received.associations += 1
        received.calling = event.assoc.requestor.ae_title

    def stored(event: Any) -> int:
        request, uid = event.request, str(event.request.AffectedSOPInstanceUID)
        originator = str(request.MoveOriginatorApplicationEntityTitle or "")
        with lock:
            received.requests.append(uid)
            received.originators.add((originator, int(request.MoveOriginatorMessageID or 0)))
        status = answer(received, event)
        if status & 0xF000 in (0, 0xB000):
            received.data_sets[uid] = request.DataSet.getvalue()
            received.syntaxes[uid] = str(event.context.transfer_syntax)
        return status

    entity = ApplicationEntity(ae_title="DEST")
    entity.maximum_pdu_size = options.pop("maximum_pdu_size", 16382)
    entity.require_called_aet = options.pop("require_called_aet", False)
    for sop_class, syntaxes in classes.items():
        entity.add_supported_context(sop_class, syntaxes)
    handlers: Any = [(evt.EVT_ACCEPTED, accepted), (evt.EVT_C_STORE, stored)]
    server = entity.make_server(
        ("127.0.0.1", 0),
        evt_handlers=handlers,
        server_class=ThreadedAssociationServer,
        **options,
    )
    entity._servers.append(server)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    received.port = server.socket.getsockname()[1]
    try:
        yield received
    finally:
        server.shutdown()
        serving.join(20)


@contextmanager
def misbehaving(behave: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """The port of something that gives each connection, and its number, to a function."""
    listener = socket.create_server(("127.0.0.1", 0))
    number = 0

    def serve(connection: socket.socket, count: int) -> None:
        connection.settimeout(20)
        with suppress(OSError), connection:
            behave(connection, count)

    def accept() -> None:
        nonlocal number
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection, number), daemon=True).start()
                number += 1

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Type and content of the next PDU."""
    head = _exactly(connection, 6)
    return head[0], _exactly(connection, int.from_bytes(head[2:], "big"))


def accept(connection: socket.socket, more: bytes = b"") -> None:
    """Accept an association with all of its contexts, in what each of them proposes."""
    _, content = read_pdu(connection)
    place, results = 68, b""
    while place < len(content):
        kind = content[place]
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        value = content[place + 4 : place + 4 + length]
        if kind == 0x20:
            syntax = value[value.index(b"\x40\0") :]
            item = bytes([value[0], 0, 0, 0]) + syntax
            results += b"\x21\0" + len(item).to_bytes(2, "big") + item
        place += 4 + length
    user = b"\x50\0\0\x08\x51\0\0\x04" + (16384).to_bytes(4, "big")
    connection.sendall(pdu(2, content[:68] + results + user + more))


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data
