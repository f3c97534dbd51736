"""``python -m bench.network_check``: whether the proxy's links are what they say."""

from __future__ import annotations

import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median
from urllib.parse import urlsplit

from bench.network import BACKLOG, LOOPBACK, MEGABYTE, REMOTE, Network, Proxy

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
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    first = 1000 * median(times[0] for times in pings)
    later = 1000 * median(later for times in pings for later in times[1:])
    rates = sorted(MEASURED / (seconds - network.round_trip) / MEGABYTE for seconds in uploads)
    return (
        f"{network}, {connections} connections: first exchange {first:.1f} ms, later ones "
        f"{later:.1f} ms; {median(rates):.1f} MB/s ({rates[0]:.1f} to {rates[-1]:.1f}) each; "
        f"CPU of all proxies until now {cpu.ru_utime + cpu.ru_stime:.2f} s"
    )


def main() -> None:
    """Measure loopback and the remote network, with one connection and with sixteen."""
    for network in (LOOPBACK, REMOTE):
        for connections in (1, 16):
            print(_check(network, connections), flush=True)


if __name__ == "__main__":
    main()
