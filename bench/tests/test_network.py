"""What a network does to HTTP, and that what is recorded of it is what happened."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from bench.network import GOOGLE, LOOPBACK, NETWORKS, Network, Proxy
from bench.timeline import LEGEND, Timeline
from bench.traffic import (
    OTHER,
    RETRIEVE,
    SEARCH,
    STOW,
    TOKEN,
    Connection,
    Exchange,
    exchanges_of,
    recorded,
)
from tests.support.certificates import Authority

STUDIES = "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/studies"
RELATED = 'multipart/related; type="application/dicom"; boundary='
SLOW = Network(0.040, 1_000_000, first_byte=0.1, instance=0.05)


class Handler(BaseHTTPRequestHandler):
    """Answers with the length of what it got; refuses what it is told to."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.headers.get("X-Early"):
            self._answer(b"0")
            self._body()
        else:
            self._answer(str(len(self._body())).encode())

    def do_GET(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, content: bytes) -> None:
        self.send_response(429 if self.headers.get("X-Refuse") else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _chunk(self) -> bytes:
        chunk = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return chunk

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        thread = Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def connect(url: str, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    assert parts.hostname is not None
    if context is None:
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=context)


def multipart(boundary: str, *parts: bytes) -> bytes:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    **headers: str,
) -> tuple[int, int]:
    """The status, and how many bytes the server got."""
    connection.request(
        method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
    )
    answer = connection.getresponse()
    return answer.status, int(answer.read())


def test_every_request_is_recorded_with_its_moments(server: str, tmp_path: Path) -> None:
    record = tmp_path / "traffic"
    body = multipart("b1", b"x" * 30_000, b"\r\n--b1-not", b"y")
    related = {"Content_Type": f'{RELATED}"b1"'}
    pieces = [body[begin : begin + 7] for begin in range(0, 210, 7)] + [body[210:]]
    with Proxy(server, SLOW, record) as proxy:
        with closing(connect(proxy.url)) as connection:
            assert ask(connection, "POST", STUDIES, body, **related) == (200, len(body))
            assert ask(connection, "POST", STUDIES, iter(pieces), **related) == (200, len(body))
            assert ask(connection, "GET", f"{STUDIES}/1/instances?limit=5") == (200, 0)
            assert ask(connection, "GET", f"{STUDIES}/1/series/2/instances/3") == (200, 0)
            refused = ask(connection, "POST", STUDIES, body, **related, X_Refuse="1")
            assert refused == (429, len(body))
        with closing(connect(proxy.url)) as connection:
            assert ask(connection, "POST", "/token", b"grant") == (200, 5)
            assert ask(connection, "DELETE", f"{STUDIES}/1") == (200, 0)
    first, second = recorded(record)
    kinds = [[exchange.kind for exchange in one.exchanges] for one in (first, second)]
    assert kinds == [[STOW, STOW, SEARCH, RETRIEVE, STOW], [TOKEN, OTHER]]
    assert [exchange.instances for exchange in first.exchanges] == [3, 3, 0, 0, 3]
    assert [exchange.status for exchange in first.exchanges] == [200, 200, 200, 200, 429]
    for connection_seen in (first, second):
        opened = connection_seen.opened + SLOW.round_trip  # the handshake
        assert connection_seen.exchanges[0].first_sent >= opened
    for exchange in exchanges_of([first, second]):
        check_moments(exchange)
        if exchange.kind == STOW:
            assert exchange.sent_bytes > len(body)


def check_moments(exchange: Exchange) -> None:
    """Nothing is faster than the network."""
    assert exchange.last_sent is not None
    assert exchange.first_answered is not None
    assert exchange.last_answered is not None
    sending = exchange.last_sent - exchange.first_sent
    assert sending >= exchange.sent_bytes / SLOW.bandwidth - 1e-9
    extra = 2 * SLOW.instance if exchange.instances and not exchange.is_refused else 0.0
    wait = exchange.first_answered - exchange.last_sent
    assert wait >= SLOW.wait + extra - 1e-9
    answering = exchange.last_answered - exchange.first_answered
    assert answering >= exchange.answer_bytes / SLOW.bandwidth * 0.5


def test_an_answer_that_comes_before_the_end_of_its_request(server: str, tmp_path: Path) -> None:
    """Its client may go on sending; the next request is told apart."""
    record = tmp_path / "traffic"
    with Proxy(server, LOOPBACK, record) as proxy, closing(connect(proxy.url)) as connection:
        connection.putrequest("POST", STUDIES)
        for name, value in (("Content-Length", "70000"), ("X-Early", "1")):
            connection.putheader(name, value)
        connection.endheaders(bytes(35_000))
        assert connection.getresponse().read() == b"0"
        connection.send(bytes(35_000))
        stored = ask(connection, "POST", STUDIES, b"DICM", Content_Type="application/dicom")
        assert stored == (200, 4)
    (seen,) = recorded(record)
    early, later = seen.exchanges
    assert (early.last_sent, early.status) == (None, 200)
    assert (later.instances, later.status) == (1, 200)
    assert early.last_answered is not None
    assert later.first_sent >= early.last_answered


def resumed(url: str, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSocket:
    """A connection that goes on with the keys of an earlier one."""
    parts = urlsplit(url)
    plain = socket.create_connection((parts.hostname, parts.port or 0), timeout=30)
    return context.wrap_socket(plain, server_hostname=parts.hostname, session=session)


def test_a_connection_may_be_encrypted(server: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    network = Network(0.01, 5_000_000, encrypted=True)
    context = ssl.create_default_context(cafile=str(authority.file))
    body = bytes(500_000)
    record = tmp_path / "traffic"
    with Proxy(server, network, record, authority.issue("127.0.0.1")) as proxy:
        assert proxy.url.startswith("https://")
        session = None
        for _ in range(2):
            with closing(connect(proxy.url, context)) as connection:
                connection.sock = resumed(proxy.url, context, session)
                answer = ask(connection, "POST", STUDIES, body, Content_Type="application/dicom")
                assert answer == (200, len(body))
                assert ask(connection, "GET", STUDIES) == (200, 0)
                session = connection.sock.session
        with (
            closing(connect(proxy.url, ssl.create_default_context())) as stranger,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ask(stranger, "GET", STUDIES)
    seen = recorded(record)
    assert [len(one.exchanges) for one in seen] == [2, 2]
    assert [one.resumed for one in seen] == [False, True]
    assert "opened: 2 (1 resumed)" in Timeline(seen, 0.0, time.monotonic()).overview(network)
    for one in seen:
        assert one.exchanges[0].first_sent >= one.opened + 2 * network.round_trip


def test_the_network_of_google_is_the_profile_of_the_emulator() -> None:
    assert str(GOOGLE) == (
        "20 ms round trip, 10 MB/s per connection, 0.2 s to the first byte of an answer"
    )
    assert GOOGLE.wait == pytest.approx(0.22)
    assert all(network.is_shaped == (network != LOOPBACK) for network in NETWORKS.values())
    assert not Network(quota_bytes=1).is_shaped
    assert NETWORKS["google-quota"].quota == {
        "bytesPerSecond": 100_000_000,
        "requestsPerSecond": 100,
    }
    assert GOOGLE.quota is None


def test_a_timeline_is_a_picture_of_connections() -> None:
    stow = Exchange(1, STOW, 10.0, 14.0, 17.0, 18.0, 200, 8_000_000, 100, 4)
    search = Exchange(1, SEARCH, 18.0, 18.0, 20.0, 20.0, 200, 500, 100)
    refused = Exchange(2, STOW, 12.0, 12.5, 13.0, 13.05, 429, 4_000_000, 100, 2)
    unanswered = Exchange(3, STOW, 16.0, None, None, None, 0, 1_000_000)
    before = Exchange(1, TOKEN, 1.0, 1.1, 1.2, 1.3, 200, 400, 900)
    timeline = Timeline(
        [
            Connection(1, 0.0, None, [before, stow, search]),
            Connection(2, 11.0, 14.0, [refused]),
            Connection(3, 15.0, 19.0, [unanswered]),
            Connection(4, 0.0, None, []),
        ],
        began=10.0,
        ended=20.0,
    )
    scale, first, second = timeline.picture()
    assert scale.replace(" s", "").split() == ["0.00", "2.00", "4.00", "6.00", "8.00", "10.00"]
    assert first.removeprefix("1 ") == "S" * 40 + "s" * 30 + "<" * 10 + "q" * 20
    assert second.removeprefix("2 ") == (
        " " * 10 + "+" * 10 + "S" * 5 + "s" * 5 + "!" + "." * 9 + " " * 10 + "+" * 10 + "S" * 40
    )
    assert timeline.refused == 0.25
    assert timeline.most_connections == 2
    text = timeline.text(Network(bandwidth=1_000_000))
    overview = timeline.overview(Network(bandwidth=1_000_000))
    assert overview in text
    assert overview == (
        "10.00 s, requests: 4, 13.0 MB, connections at once: 2 (65 % of what they carry), "
        "opened: 2, refused with 429: 25.0 %"
    )
    assert "time of 2 connections: sending 42 %, waiting for answers 28 %, reading them 5 %" in text
    assert "STOW: 3, instances 6, 13.0 MB, sending 8.50 s" in text
    assert "at once 2, failed 1" in text
    assert "first byte of a store request at 0.00 s" in text
    assert "token" not in text


def test_a_timeline_without_requests() -> None:
    timeline = Timeline([Connection(1, 0.0)], 1.0, 2.0)
    assert timeline.refused == 0.0
    assert "requests: 0," in timeline.text(LOOPBACK)


def test_the_guide_explains_the_picture() -> None:
    guide = Path(__file__).parents[2] / "docs" / "performance.md"
    assert LEGEND in guide.read_text()
