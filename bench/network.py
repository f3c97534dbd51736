"""A link with a round-trip time and a bandwidth, in user space: a TCP proxy in its own process.

Each connection has a link of its own for each direction, which passes ``bandwidth`` bytes a second
and delivers each byte half a round-trip time later. What a sender writes beyond that waits in the
sender's own buffers, as the proxy reads no more than the link takes. A connection costs a round
trip before its first byte, and one more if it is encrypted (TLS 1.3, RFC 8446 section 2): the
handshake is a real one, but its bytes are not late. An answer of HTTP may be held until some time
after the last byte of its request. Slow start, loss and a limit for all connections together are
not imitated. ``python -m bench.network_check`` measures whether it keeps its word.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from bench.traffic import Observer, Passage, Recorder
from orthanc_gcp.emulator.faults.network_profiles import GOOGLE as PROFILE

__all__ = ["GOOGLE", "LOOPBACK", "NETWORKS", "REMOTE", "Network", "Proxy"]

MEGABYTE = 1_000_000
BACKLOG = 1024
# How far ahead of the link the proxy reads: longer than timers are late on a busy machine.
AHEAD = 0.02


@dataclass(frozen=True)
class Network:
    """What lies between a client and the store, and what the store lets an account do.

    Attributes
    ----------
    round_trip, bandwidth : float
        Seconds, and bytes a second of each connection in each direction; 0 for no limit.
    first_byte, instance : float
        Seconds from the last byte of a request to the first of its answer, and how many more for
        each instance of a store request but the first.
    quota_bytes, quota_requests : int
        How many of them a second an account may have before it is answered 429; 0 for no limit.
    encrypted : bool
        Whether it is HTTPS.
    """

    round_trip: float = 0.0
    bandwidth: float = 0.0
    first_byte: float = 0.0
    instance: float = 0.0
    quota_bytes: int = 0
    quota_requests: int = 0
    encrypted: bool = False

    def __str__(self) -> str:
        return ", ".join(self._words()) or "loopback"

    def _words(self) -> Iterator[str]:
        if self.round_trip:
            yield f"{1000 * self.round_trip:g} ms round trip"
        if self.bandwidth:
            yield f"{self.bandwidth / MEGABYTE:g} MB/s per connection"
        if self.first_byte:
            yield f"{self.first_byte:g} s to the first byte of an answer"
        if self.instance:
            yield f"{1000 * self.instance:g} ms for each further instance"
        if self.quota_bytes:
            yield f"a quota of {self.quota_bytes / MEGABYTE:g} MB a second"
        if self.quota_requests:
            yield f"a quota of {self.quota_requests} requests a second"
        if self.encrypted:
            yield "HTTPS"

    @property
    def is_shaped(self) -> bool:
        """Whether something has to stand between client and store."""
        return replace(self, quota_bytes=0, quota_requests=0) != LOOPBACK

    @property
    def quota(self) -> dict[str, int] | None:
        """The quota as the emulator has it, which counts what is let in."""
        limits = {"bytesPerSecond": self.quota_bytes, "requestsPerSecond": self.quota_requests}
        return {name: limit for name, limit in limits.items() if limit} or None

    @property
    def wait(self) -> float:
        """How long a small request waits for its answer on a connection that is open, in s."""
        return self.round_trip + self.first_byte


LOOPBACK = Network()
REMOTE = Network(0.040, 25 * MEGABYTE)
GOOGLE = Network(0.020, PROFILE["bandwidth"], PROFILE["latency"])
"""A client in the region of its store: the pace of the emulator's profile, where the sources stand,
and an assumed round trip."""
NETWORKS: Mapping[str, Network] = {
    "loopback": LOOPBACK,
    "far": REMOTE,
    "google": GOOGLE,
    "google-instances": replace(GOOGLE, instance=0.020),
    "google-quota": replace(GOOGLE, quota_bytes=100 * MEGABYTE, quota_requests=100),
    "google-https": replace(GOOGLE, encrypted=True),
}
"""The networks of all measurements, by the names that the command line takes."""


class Proxy:
    """The process, from entering the context to leaving it.

    Parameters
    ----------
    target : str
        The URL of the server, which is not encrypted.
    network : Network
        What is imitated; quotas are the server's.
    record : Path, optional
        A file that gets all requests and answers, see :mod:`bench.traffic`.
    certificate : tuple of Path, optional
        PEM files of a certificate and its key, for a network that is encrypted.
    """

    def __init__(
        self,
        target: str,
        network: Network,
        record: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        assert network.encrypted == (certificate is not None)
        self._options = [
            *(parts.hostname, str(parts.port), json.dumps(asdict(network))),
            *(("--record", str(record)) if record else ()),
            *(("--certificate", *map(str, certificate)) if certificate else ()),
        ]
        self._scheme = "https" if network.encrypted else parts.scheme
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
        self.schedule(data)
        self.start()

    def schedule(self, data: bytes | None, earliest: float = 0.0) -> Passage:
        """Find out when data will pass, not before a moment; :meth:`start` lets them."""
        begins = self._free = max(self._free, self._loop.time(), earliest)
        if data and self._bandwidth:
            self._free += len(data) / self._bandwidth
        self._under_way.append((self._free + self._delay, data))
        return Passage(begins, self._free, self._delay)

    def start(self) -> None:
        """Deliver what is scheduled, each at its moment."""
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
            if sink.can_write_eof():
                sink.write_eof()
            else:
                sink.close()  # TLS has no half of a connection
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
        self.observer: Observer | None = None

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
        return self.transport.can_write_eof()  # the other direction goes on

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


class _Client(_End):
    """The end at the client, whose requests may be observed."""

    def data_received(self, data: bytes) -> None:
        assert self.outgoing is not None
        passage = self.outgoing.schedule(data)
        if self.observer is not None:
            self.observer.sent(data, passage)
        self.outgoing.start()

    def connection_lost(self, error: Exception | None) -> None:
        if self.observer is not None:
            self.observer.closed(asyncio.get_running_loop().time())
        super().connection_lost(error)


class _Server(_End):
    """The end at the server, whose answers may be observed and held."""

    def data_received(self, data: bytes) -> None:
        assert self.outgoing is not None
        earliest = self.observer.earliest(data) if self.observer else 0.0
        passage = self.outgoing.schedule(data, earliest)
        if self.observer is not None:
            self.observer.answered(len(data), passage)
        self.outgoing.start()


class _Connections:
    def __init__(self, host: str, port: int, network: Network, record: Path | None) -> None:
        self._host, self._port, self._network = host, port, network
        self._is_observed = record is not None or bool(network.first_byte or network.instance)
        self._recorder = Recorder(record)
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self) -> _End:
        return _Client(self._accepted)

    def _accepted(self, client: _End) -> None:
        loop = asyncio.get_running_loop()
        network = self._network
        opened = loop.time()
        begins = opened + network.round_trip * (2 if network.encrypted else 1)  # handshakes
        client.outgoing = _Link(network, client.transport, begins, client.close_if_over)
        if self._is_observed:
            tls = client.transport.get_extra_info("ssl_object")
            resumed = tls is not None and bool(tls.session_reused)
            number = self._recorder.opened(opened, resumed=resumed)
            client.observer = Observer(network.first_byte, network.instance, self._recorder, number)
        client.transport.pause_reading()
        task = loop.create_task(self._join(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, client: _End) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, server = await loop.create_connection(_Server, self._host, self._port)
        except OSError:
            client.transport.abort()
            return
        assert client.outgoing is not None
        server.observer = client.observer
        server.outgoing = _Link(self._network, server.transport, 0.0, server.close_if_over)
        client.incoming, server.incoming = server.outgoing, client.outgoing
        client.other, server.other = server, client
        server.outgoing.connect(client.transport)
        client.outgoing.connect(server.transport)


async def _serve(connections: _Connections, certificate: list[str] | None) -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        connections.accept, "127.0.0.1", 0, backlog=BACKLOG, ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _main() -> None:
    parser = argparse.ArgumentParser(description="Passes connections on, late and slowly.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("network", type=json.loads, help="the fields of a network, in JSON")
    parser.add_argument("--record", type=Path, help="a file that gets all requests")
    parser.add_argument("--certificate", nargs=2, help="PEM files of a certificate and its key")
    options = parser.parse_args()
    network = Network(**options.network)
    connections = _Connections(options.host, options.port, network, options.record)
    asyncio.run(_serve(connections, options.certificate))


if __name__ == "__main__":
    _main()
