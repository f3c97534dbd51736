"""HTTP/1.1: what is none, and bodies of every size."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

import pytest

from orthanc_gcp.emulator.http import protocol
from orthanc_gcp.emulator.http.protocol import MAX_JOINED, JoiningTransport
from tests.emulator.client import Client, make_dicom, path_of, read
from tests.support.framing import SMUGGLED, UNCLEAR, all_of


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\0\0\0",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: [\r\n\r\n",
        b"GET /x HTTP/1.1\r\n\r\n",
        b"POST /token HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000,
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 50_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 201 + b"\r\n",
        b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 200_000,
        b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 200_000,
    ],
)
def test_broken_http(client: Client, request_: bytes) -> None:
    host, _, port = client.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(request_)
            answer = connection.recv(1000)
        except ConnectionError:
            return  # refused while it was still being sent
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))


@pytest.mark.parametrize("headers", UNCLEAR, ids=range(len(UNCLEAR)))
def test_where_a_request_ends_is_clear_or_it_is_none(client: Client, headers: bytes) -> None:
    with connect(client) as connection:
        connection.sendall(b"POST /token HTTP/1.1\r\nHost: localhost\r\n" + headers + SMUGGLED)
        said = all_of(connection)
    assert said.startswith(b"HTTP/1.1 400"), said
    assert said.count(b"HTTP/1.1") == 1


ASKED = b"GET /emulator/token HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_requests_that_do_not_wait_for_answers_are_few(client: Client) -> None:
    with connect(client) as connection, suppress(ConnectionError):
        connection.sendall(ASKED * 10_000)
        said = all_of(connection)
        allowed = protocol.MAX_PIPELINED + 1
        assert said.count(b"HTTP/1.1") == said.count(b"HTTP/1.1 200") <= allowed
    with connect(client) as connection:
        connection.sendall(ASKED + b"nonsense\r\n\r\n")
        assert b" 400 " not in all_of(connection)
    assert client.get("/studies").status == 204


def test_trailers_are_no_headers(client: Client) -> None:
    chunked = head(client, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    trailers = b"0\r\nAuthorization: Bearer nothing\r\n\r\n"
    content = make_dicom()
    with connect(client) as connection:
        connection.sendall(chunked + b"%x\r\n%s\r\n" % (len(content), content) + trailers)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET /healthz", b"POST", b"UPLOAD"])
def test_who_is_silent_is_broken_off(
    client: Client, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(protocol, "_WATCH_EVERY", 0.1)
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.3)
    monkeypatch.setattr(protocol, "BODY_IDLE", 0.3)
    with connect(client) as connection:
        if begun:
            connection.sendall(head(client, 1000) if begun == b"UPLOAD" else begun)
        with suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
    assert client.get("/studies").status == 204


def test_who_sends_next_to_nothing_is_broken_off(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is no reason to wait, nor are extensions of chunks."""
    monkeypatch.setattr(protocol, "_WATCH_EVERY", 0.1)
    monkeypatch.setattr(protocol, "BODY_IDLE", 1)
    chunked = head(client, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with connect(client) as connection, suppress(ConnectionError):
        connection.sendall(chunked)
        for _ in range(1000):
            connection.sendall(b"1;" + b"a" * 1000 + b"\r\nx\r\n")
            time.sleep(0.01)
        pytest.fail("it is waited for")


def test_who_goes_on_with_nothing_after_a_request_is_broken_off(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_WATCH_EVERY", 0.1)
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.3)
    with connect(client) as connection, suppress(ConnectionResetError):
        connection.sendall(ASKED)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"\r\n")
        assert connection.recv(1000) == b""


def test_who_takes_no_answer_is_broken_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_dicom(bytes(30_000_000))
    assert client.store(content).status == 200
    monkeypatch.setattr(protocol, "_WATCH_EVERY", 0.1)
    monkeypatch.setattr(protocol, "BODY_IDLE", 0.5)
    path = f"/v1/{client.store_name}/dicomWeb{path_of(read(content))}"
    with connect(client) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {client.token}\r\n"
            "Accept: application/dicom; transfer-syntax=*\r\n\r\n".encode()
        )
        time.sleep(2)
        assert len(all_of(connection)) < len(content)


def test_who_is_silent_makes_room_for_who_comes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 20)
    many = [connect(client) for _ in range(40)]
    try:
        many[-1].sendall(ASKED)
        assert many[-1].recv(1000).startswith(b"HTTP/1.1 200")
        with suppress(ConnectionError):
            assert many[0].recv(1000) == b""
    finally:
        for connection in many:
            connection.close()
    assert client.get("/studies").status == 204


def connect(client: Client) -> socket.socket:
    host, _, port = client.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def head(client: Client, length: int) -> bytes:
    return (
        f"POST /v1/{client.store_name}/dicomWeb/studies HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {client.token}\r\nContent-Type: application/dicom\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def test_a_body_in_pieces_of_every_size(client: Client) -> None:
    content = make_dicom(bytes(range(256)) * 4000)
    with connect(client) as connection:
        connection.sendall(head(client, len(content)) + content[:1])
        start = 1
        for size in (1, 2, 1000, 70_000, 100_000, len(content)):
            connection.sendall(content[start : start + size])
            start += size
            time.sleep(0.01)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    got = client.get(path_of(read(content)), "application/dicom; transfer-syntax=*")
    assert got.data == content


def test_requests_one_after_the_other_on_a_connection(client: Client) -> None:
    request = f"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX: {'a' * 40_000}\r\n\r\n".encode()
    with connect(client) as connection:
        for _ in range(3):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"</html>\n"):
                answer += connection.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 404")


def test_a_body_after_the_answer_is_dropped(client: Client) -> None:
    with connect(client) as connection:
        connection.sendall(head(client, 3_000_000).replace(b"Bearer", b"Basic"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")
        connection.sendall(bytes(1_000_000))
    assert client.get("/studies").status == 204


def test_head_and_body_of_an_answer_come_together(client: Client) -> None:
    content = make_dicom()
    with connect(client) as connection:
        connection.sendall(head(client, len(content)) + content)
        answer = connection.recv(100_000)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"</NativeDicomModel>")


class Sent(asyncio.Transport):
    """A connection that notes what is sent at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.is_over = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_over

    def close(self) -> None:
        self.is_over = True

    def abort(self) -> None:
        self.is_over = True


def test_what_is_written_in_a_turn_is_sent_at_its_end() -> None:
    async def write() -> None:
        joining.append(JoiningTransport(sent, asyncio.get_running_loop()))
        joining[0].write(b"one")
        joining[0].write(b"two")
        assert not sent.pieces
        await asyncio.sleep(0)
        assert sent.pieces == [b"onetwo"]
        joining[0].write(b"three")
        joining[0].flush()
        await asyncio.sleep(0)
        assert sent.pieces == [b"onetwo", b"three"]

    sent, joining = Sent(), list[JoiningTransport]()
    asyncio.run(write())


@pytest.mark.parametrize("size", [10, MAX_JOINED, MAX_JOINED + 1])
def test_what_waits_in_a_turn_is_bounded_and_in_order(size: int) -> None:
    async def write() -> None:
        joining = JoiningTransport(sent, asyncio.get_running_loop())
        for number, piece in enumerate(pieces, 1):
            joining.write(piece)
            waiting = sum(map(len, pieces[:number])) - sum(map(len, sent.pieces))
            assert waiting <= MAX_JOINED
        joining.close()

    sent, pieces = Sent(), [bytes([number]) * size for number in range(100)]
    pieces += [b"a" * MAX_JOINED, b"b", b"c" * (MAX_JOINED + 1), b"d"]
    asyncio.run(write())
    assert b"".join(sent.pieces) == b"".join(pieces)
    assert sent.is_over
