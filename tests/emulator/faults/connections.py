"""Connections that show every byte, and what tests of faults ask."""

from __future__ import annotations

import socket
from typing import Any

from tests.emulator.client import STORE, Client

LARGE = bytes(4_000_000)


class Raw:
    """A connection that shows every byte."""

    def __init__(self, client: Client) -> None:
        self.address = client.url.rpartition("/")[2]
        host, _, port = self.address.rpartition(":")
        self.token = client.token
        self.socket = socket.create_connection((host, int(port)), timeout=30)

    def send(
        self, verb: str, path: str, body: bytes = b"", store: str = STORE, **headers: Any
    ) -> None:
        """Send a request, of which ``body`` may be only the beginning."""
        sent = {"Host": self.address, "Authorization": f"Bearer {self.token}", **headers}
        lines = [f"{verb} /v1/{store}/dicomWeb{path} HTTP/1.1"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in sent.items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def receive(self) -> bytes:
        """Return what comes until the connection ends; raise when it is reset instead."""
        received = b""
        while block := self.socket.recv(65536):
            received += block
        return received


def statuses(client: Client, number: int) -> list[int]:
    return [client.get("/studies").status for _ in range(number)]


def upload(raw: Raw, content: bytes, size: int | None = None) -> None:
    """Send an upload, or only the first bytes of it."""
    headers = {"Content_Type": "application/dicom", "Content_Length": len(content)}
    raw.send("POST", "/studies", content[:size], **headers)


def stored(client: Client) -> list[dict[str, Any]]:
    return client.search("/instances")


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]
