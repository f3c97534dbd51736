"""``python -m bench.network_check``: whether the proxy's links are what they say."""

from __future__ import annotations

import resource
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench.network import BACKLOG, GOOGLE, LOOPBACK, MEGABYTE, NETWORKS, REMOTE, Network, Proxy
from tests.support.certificates import Authority

PINGS = 20
MEASURED = 20 * MEGABYTE


class _Server:
    """Answers each message that ends with a line feed by a line feed."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while data := connection.recv(1 << 20):
                if data.endswith(b"\n"):
                    connection.sendall(b"\n")


def _connection(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port or 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _exchange(connection: socket.socket, message: bytes) -> float:
    began = time.monotonic()
    connection.sendall(message)
    connection.recv(1)
    return time.monotonic() - began


def _pings(url: str) -> list[float]:
    with _connection(url) as connection:
        return [_exchange(connection, b"\n") for _ in range(PINGS)]


def _upload(url: str) -> float:
    with _connection(url) as connection:
        _exchange(connection, b"\n")
        return _exchange(connection, bytes(MEASURED - 1) + b"\n")


def _check(network: Network, connections: int) -> str:
    with Proxy(_Server().url, network) as proxy, ThreadPoolExecutor(connections) as pool:
        pings = list(pool.map(_pings, [proxy.url] * connections))
        uploads = list(pool.map(_upload, [proxy.url] * connections))
    return _report(network, connections, pings, uploads)


class _Handler(BaseHTTPRequestHandler):
    """Takes what comes."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = BACKLOG


def _post(connection: HTTPConnection, size: int) -> float:
    began = time.monotonic()
    connection.request("POST", "/", bytes(size))
    connection.getresponse().read()
    return time.monotonic() - began


def _http_connection(url: str, context: ssl.SSLContext | None) -> HTTPConnection:
    parts = urlsplit(url)
    assert parts.hostname is not None
    if context is None:
        return HTTPConnection(parts.hostname, parts.port)
    return HTTPSConnection(parts.hostname, parts.port, context=context)


def _check_http(network: Network, connections: int) -> str:
    """The same of requests of HTTP, whose answers are held."""

    def ask(url: str) -> tuple[list[float], float]:
        with closing(_http_connection(url, context)) as connection:
            return [_post(connection, 1) for _ in range(PINGS)], _post(connection, MEASURED)

    with (
        TemporaryDirectory() as folder,
        _HttpServer(("127.0.0.1", 0), _Handler) as server,
        ThreadPoolExecutor(connections) as pool,
    ):
        context = certificate = None
        if network.encrypted:
            authority = Authority(Path(folder))
            certificate = authority.issue("127.0.0.1")
            context = ssl.create_default_context(cafile=str(authority.file))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Proxy(f"http://127.0.0.1:{server.server_port}", network, None, certificate) as proxy:
            taken = list(pool.map(ask, [proxy.url] * connections))
        server.shutdown()
    return _report(
        network, connections, [pings for pings, _ in taken], [upload for _, upload in taken]
    )


def _report(
    network: Network, connections: int, pings: list[list[float]], uploads: list[float]
) -> str:
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    first = 1000 * median(times[0] for times in pings)
    later = 1000 * median(later for times in pings for later in times[1:])
    rates = sorted(MEASURED / (seconds - network.wait) / MEGABYTE for seconds in uploads)
    return (
        f"{network}, {connections} connections: first exchange {first:.1f} ms, later ones "
        f"{later:.1f} ms; {median(rates):.1f} MB/s ({rates[0]:.1f} to {rates[-1]:.1f}) each; "
        f"CPU of all proxies until now {cpu.ru_utime + cpu.ru_stime:.2f} s"
    )


def main() -> None:
    """Measure each network that is not limited by a quota, alone and with many connections."""
    for network in (LOOPBACK, REMOTE):
        for connections in (1, 16):
            print(_check(network, connections), flush=True)
    for network in (GOOGLE, NETWORKS["google-https"]):
        for connections in (1, 20):
            print(_check_http(network, connections), flush=True)


if __name__ == "__main__":
    main()
