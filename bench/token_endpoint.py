"""A token endpoint for measurements, in a process of its own.

It answers any POST with a token at once and checks nothing: what it costs must not show beside
what is measured. A POST to ``/hang`` is never answered.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import ssl
import subprocess
import sys
from pathlib import Path

__all__ = ["TokenEndpoint"]

LIFETIME = 3600
_HANG = b"POST /hang "

_numbers = itertools.count()


class TokenEndpoint:
    """The process, from entering the context to leaving it."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self._tls = [str(file) for file in certificate or ()]
        self._address = ""

    def __enter__(self) -> TokenEndpoint:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *self._tls], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        scheme = "https" if self._tls else "http"
        self._address = f"{scheme}://127.0.0.1:{self._process.stdout.readline().strip()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def url(self) -> str:
        """Where a token request is answered."""
        return f"{self._address}/token"

    @property
    def hanging_url(self) -> str:
        """Where a token request waits for ever."""
        return f"{self._address}/hang"


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := _end_of_request(self._received)) is not None:
            request, self._received = self._received[:end], self._received[end:]
            if not request.startswith(_HANG):
                self._transport.write(_answer())


def _end_of_request(received: bytes) -> int | None:
    """Where the first request ends; None while it is incomplete."""
    head, blank, rest = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return len(head) + len(blank) + length if blank and len(rest) >= length else None


def _answer() -> bytes:
    token = f"ya29.{next(_numbers):0200}"  # as long as Google's are, and never the same
    fields = {"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer"}
    body = json.dumps(fields).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


async def _serve(certificate: list[str]) -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Answers token requests.")
    parser.add_argument("certificate", nargs="*", help="PEM files of a certificate and its key")
    asyncio.run(_serve(parser.parse_args().certificate))
