"""A link with a round-trip time and a bandwidth, in user space: a TCP proxy in its own process.

Each connection has a link of its own for each direction, which passes ``bandwidth`` bytes a second
and delivers each byte half a round-trip time later. What a sender writes beyond that waits in the
sender's own buffers, as the proxy reads no more than the link takes. A connection costs a round
trip before its first byte. Slow start, loss and a limit for all connections together are not
imitated. ``python -m bench.network_check`` measures whether it keeps its word.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["LOOPBACK", "REMOTE", "Network", "Proxy"]

MEGABYTE = 1_000_000
BACKLOG = 1024
# How far ahead of the link the proxy reads: longer than timers are late on a busy machine.
AHEAD = 0.02


@dataclass(frozen=True)
class Network:
    """A round-trip time in seconds, and bytes a second of each connection; 0 for no limit."""

    round_trip: float = 0.0
    bandwidth: float = 0.0

    def __str__(self) -> str:
        if self == LOOPBACK:
            return "loopback"
        megabytes = self.bandwidth / MEGABYTE
        return f"{1000 * self.round_trip:g} ms round trip, {megabytes:g} MB/s per connection"


LOOPBACK = Network()
REMOTE = Network(0.040, 25 * MEGABYTE)


class Proxy:
    """The process, from entering the context to leaving it."""

    def __init__(self, target: str, network: Network) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._options = [
            *(parts.hostname, str(parts.port)),
            *("--round-trip", str(network.round_trip), "--bandwidth", str(network.bandwidth)),
        ]
        self._scheme = parts.scheme
        self.url = ""

    def __enter__(self) -> Proxy:
        command = [sys.executable, "-m", __name__, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self.url = f"{self._scheme}://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The process, to be asked for its CPU time."""
        return self._process.pid


class _Link:
    """One direction of a connection: from a transport to another one, late and in order."""

    def __init__(
        self,
        network: Network,
        source: asyncio.Transport,
        free: float,
        on_end: Callable[[], None],
    ) -> None:
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._delay = network.round_trip / 2
        self._bandwidth = network.bandwidth
        self._source = source
        self._sink: asyncio.Transport | None = None
        self._free = free  # when the link has passed all that was read
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._sink_is_full = False
        self._is_ahead = False
        self.ended = False

    def connect(self, sink: asyncio.Transport) -> None:
        self._sink = sink
        self._read_or_pause()
        self._deliver()

    def take(self, data: bytes | None) -> None:
        """Put data on the link, or None for the end of them."""
        self._free = max(self._free, self._loop.time())
        if data and self._bandwidth:
            self._free += len(data) / self._bandwidth
        self._under_way.append((self._free + self._delay, data))
        if self._timer is None:
            self._deliver()
        self._look_ahead()

    def fill(self, *, full: bool) -> None:
        """Learn whether the receiver is slower than the link."""
        self._sink_is_full = full
        self._read_or_pause()

    def _deliver(self) -> None:
        self._timer = None
        if self._sink is None:
            return
        now = self._loop.time()
        while self._under_way and self._under_way[0][0] <= now:
            _, data = self._under_way.popleft()
            if data is not None:
                self._sink.write(data)
            else:
                self._end(self._sink)
        if self._under_way:
            self._timer = self._loop.call_at(self._under_way[0][0], self._deliver)

    def _end(self, sink: asyncio.Transport) -> None:
        self.ended = True
        if not sink.is_closing():
            sink.write_eof()
        self._on_end()

    def _look_ahead(self) -> None:
        wait = self._free - self._loop.time() - AHEAD
        self._is_ahead = wait > 0
        if self._is_ahead:
            self._loop.call_later(wait, self._look_ahead)
        self._read_or_pause()

    def _read_or_pause(self) -> None:
        if self._source.is_closing():
            return
        if self._is_ahead or self._sink_is_full or self._sink is None:
            self._source.pause_reading()
        else:
            self._source.resume_reading()

    def abandon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._under_way.clear()


class _End(asyncio.Protocol):
    """One end of a connection through the proxy."""

    def __init__(self, connected: Callable[[_End], None] = lambda _: None) -> None:
        self._connected = connected
        self.outgoing: _Link | None = None  # what is read here goes there
        self.incoming: _Link | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        assert self.outgoing is not None
        self.outgoing.take(data)

    def eof_received(self) -> bool:
        assert self.outgoing is not None
        self.outgoing.take(None)
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        if self.incoming is not None:
            self.incoming.fill(full=True)

    def resume_writing(self) -> None:
        if self.incoming is not None:
            self.incoming.fill(full=False)

    def close_if_over(self) -> None:
        """Close both ends when both directions have come to their end."""
        if self.outgoing and self.incoming and self.outgoing.ended and self.incoming.ended:
            self.transport.close()
            if self.other is not None:
                self.other.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.incoming is not None:
            self.incoming.abandon()
        if self.other is not None and error is not None:
            self.other.transport.abort()


class _Connections:
    def __init__(self, host: str, port: int, network: Network) -> None:
        self._host, self._port, self._network = host, port, network
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self) -> _End:
        return _End(self._accepted)

    def _accepted(self, client: _End) -> None:
        loop = asyncio.get_running_loop()
        begins = loop.time() + self._network.round_trip  # the handshake
        client.outgoing = _Link(self._network, client.transport, begins, client.close_if_over)
        client.transport.pause_reading()
        task = loop.create_task(self._join(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, client: _End) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, server = await loop.create_connection(_End, self._host, self._port)
        except OSError:
            client.transport.abort()
            return
        assert client.outgoing is not None
        server.outgoing = _Link(self._network, server.transport, 0.0, server.close_if_over)
        client.incoming, server.incoming = server.outgoing, client.outgoing
        client.other, server.other = server, client
        server.outgoing.connect(client.transport)
        client.outgoing.connect(server.transport)


async def _serve(host: str, port: int, network: Network) -> None:
    connections = _Connections(host, port, network)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connections.accept, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _main() -> None:
    parser = argparse.ArgumentParser(description="Passes connections on, late and slowly.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--round-trip", type=float, default=0.0, help="seconds")
    parser.add_argument("--bandwidth", type=float, default=0.0, help="bytes a second")
    options = parser.parse_args()
    network = Network(options.round_trip, options.bandwidth)
    asyncio.run(_serve(options.host, options.port, network))


if __name__ == "__main__":
    _main()
