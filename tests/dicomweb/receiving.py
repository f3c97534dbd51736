"""What takes a store request, and a large one."""

from __future__ import annotations

import re
import threading

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.transport.authorization import Authorization
from tests.dicomweb.parts import part_from
from tests.support.raw_server import (
    answer,
)

STORED = b"""{"00081199": {"Value": [{"00081155": {"Value": ["1.2.3"]}}]}}"""
LARGE = 50_000_000


def client(server, **options):
    return DicomStore(server.url, lambda: Authorization("ya29.secret"), **{"timeout": 2, **options})


def large(size=LARGE):
    block = bytes(1_000_000)
    return part_from((block for _ in range(size // len(block))), size)


class Recorder:
    """Keeps the bodies that arrive, as far as they do."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.done = threading.Event()

    def __call__(self, connection, head):
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        body = bytearray()
        try:
            while len(body) < length and (piece := connection.recv(65536)):
                body += piece
        finally:
            self.bodies.append(body)
            self.done.set()
        if len(body) == length:
            connection.sendall(answer(STORED))
