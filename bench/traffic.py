"""What passes a connection, as HTTP/1.1: which request is under way when, and its answer.

Every request becomes a line of JSON in a file, and so does the beginning and the end of every
connection. Moments are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from httptools import HttpParserError, HttpRequestParser, HttpResponseParser

__all__ = [
    "KINDS",
    "OTHER",
    "RETRIEVE",
    "SEARCH",
    "STOW",
    "TOKEN",
    "Connection",
    "Exchange",
    "Observer",
    "Passage",
    "Recorder",
    "exchanges_of",
    "recorded",
]

STOW, SEARCH, RETRIEVE, TOKEN, OTHER = "STOW", "search", "retrieve", "token", "other"
KINDS = (STOW, SEARCH, RETRIEVE, TOKEN, OTHER)
TOO_MANY_REQUESTS = 429

_FINAL = 200  # answers below are interim (RFC 9110 section 15.2)
_TOKEN_PATH = re.compile(r"/(v1/)?(oauth)?token$")
_SEARCH_PATH = re.compile(r"/dicomWeb(/.*)?/(studies|series|instances)$")
_BOUNDARY = re.compile(rb'boundary="?([^";,]+)"?', re.IGNORECASE)


@dataclass(frozen=True)
class Passage:
    """When a piece of data is on the link: its first byte, its last byte, and both at the end."""

    begins: float
    ends: float
    delay: float

    @property
    def arrives(self) -> float:
        """When the last byte is at the other end."""
        return self.ends + self.delay


@dataclass
class Exchange:
    """A request and its answer, as the client sees them.

    ``first_sent`` and ``last_sent`` are when the first and the last byte of the request left, and
    ``first_answered`` and ``last_answered`` when those of the answer came; None for never.
    ``status`` is 0 as long as there is none, and ``instances`` are those of a store request.
    """

    connection: int
    kind: str = OTHER
    first_sent: float = 0.0
    last_sent: float | None = None
    first_answered: float | None = None
    last_answered: float | None = None
    status: int = 0
    sent_bytes: int = 0
    answer_bytes: int = 0
    instances: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether the quota refused it."""
        return self.status == TOO_MANY_REQUESTS


@dataclass
class Connection:
    """A connection from its opening to its end, None if it did not end, and what it carried.

    ``resumed`` tells whether it began with the keys of an earlier one (RFC 8446 section 2.2).
    """

    number: int
    opened: float
    closed: float | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    resumed: bool = False


class Recorder:
    """Writes connections and exchanges into a file, or nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = path.open("a", buffering=1) if path else None
        self._numbers = count(1)

    def opened(self, moment: float, *, resumed: bool) -> int:
        """Give a connection its number."""
        number = next(self._numbers)
        self._write({"connection": number, "opened": moment, "resumed": resumed})
        return number

    def closed(self, number: int, moment: float) -> None:
        self._write({"connection": number, "closed": moment})

    def add(self, exchange: Exchange) -> None:
        self._write(asdict(exchange))

    def _write(self, document: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(document) + "\n")


def recorded(path: Path) -> list[Connection]:
    """Read the connections that a recorder wrote, also while it writes."""
    connections: dict[int, Connection] = {}
    for document in _documents(path):
        number = document["connection"]
        if "opened" in document:
            opened, resumed = document["opened"], document["resumed"]
            connections[number] = Connection(number, opened, resumed=resumed)
        elif "closed" in document:
            connections[number].closed = document["closed"]
        else:
            connections[number].exchanges.append(Exchange(**document))
    return list(connections.values())


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        with suppress(ValueError):  # the last line is being written
            yield json.loads(line)


class Observer:
    """Follows one connection's requests and answers.

    Parameters
    ----------
    first_byte : float
        How many seconds after a request's last byte an answer leaves the server at the earliest.
    instance : float
        How many seconds more that takes for each instance of a store request but the first.
    recorder : Recorder
        What gets them.
    number : int
        The connection's, from the recorder.
    """

    def __init__(self, first_byte: float, instance: float, recorder: Recorder, number: int) -> None:
        self._first_byte, self._instance = first_byte, instance
        self._recorder, self._number = recorder, number
        self._requests, self._answers = _Requests(self._number), _Answers()
        self._waiting: deque[_Pending] = self._requests.pending

    def sent(self, data: bytes, passage: Passage) -> None:
        """Take a piece of the client's data."""
        self._requests.feed(data, passage)

    def earliest(self, data: bytes) -> float:
        """Take a piece of the server's data; return when it may leave the server."""
        began = self._answers.feed(data)
        if not began or not self._waiting:
            return 0.0
        pending = self._waiting[0]
        pending.exchange.status = self._answers.status
        extra = 0 if pending.exchange.is_refused else max(0, pending.exchange.instances - 1)
        return pending.arrived + self._first_byte + self._instance * extra

    def answered(self, size: int, passage: Passage) -> None:
        """Learn when the piece that was given to :meth:`earliest` comes to the client."""
        if not self._waiting:
            return
        exchange = self._waiting[0].exchange
        if not exchange.status:
            return  # an interim answer
        exchange.answer_bytes += size
        if exchange.first_answered is None:
            exchange.first_answered = passage.begins + passage.delay
        exchange.last_answered = passage.arrives
        if self._answers.ended:
            self._waiting.popleft()
            self._recorder.add(exchange)

    def closed(self, moment: float) -> None:
        """Write what had no end, and the end of the connection."""
        for pending in self._waiting:
            self._recorder.add(pending.exchange)
        self._waiting.clear()
        self._recorder.closed(self._number, moment)


@dataclass
class _Pending:
    """A request that has no whole answer; ``arrived`` is when its head, or all of it, arrived."""

    exchange: Exchange
    arrived: float = 0.0


class _Requests:
    """The requests of a connection; what is no HTTP ends the looking."""

    def __init__(self, number: int) -> None:
        self.pending: deque[_Pending] = deque()
        self._number = number
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._passage = Passage(0, 0, 0)
        self._pending: _Pending | None = None
        self._url, self._parts = b"", _Parts(b"")

    def feed(self, data: bytes, passage: Passage) -> None:
        self._passage = passage
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._parser = None
        if self._pending is not None:
            self._pending.exchange.sent_bytes += len(data)

    def on_message_begin(self) -> None:
        self._pending = _Pending(Exchange(self._number, first_sent=self._passage.begins))
        self._url, self._parts = b"", _Parts(b"")
        self.pending.append(self._pending)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            found = _BOUNDARY.search(value)
            self._parts = _Parts(found[1] if found else b"")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        assert self._pending is not None
        path = self._url.partition(b"?")[0].decode(errors="replace")
        self._pending.exchange.kind = _kind(self._parser.get_method().decode(), path)
        self._pending.arrived = self._passage.arrives

    def on_body(self, data: bytes) -> None:
        self._parts.feed(data)

    def on_message_complete(self) -> None:
        assert self._pending is not None
        exchange = self._pending.exchange
        exchange.last_sent = self._passage.ends
        exchange.instances = self._parts.count if exchange.kind == STOW else 0
        self._pending.arrived = self._passage.arrives


class _Parts:
    """Counts the parts of a body that comes in pieces; without a boundary it is one."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary + b"\r\n" if boundary else b""
        self._rest = b"\r\n"
        self.count = 0 if boundary else 1

    def feed(self, data: bytes) -> None:
        if self._delimiter:
            text = self._rest + data
            self.count += text.count(self._delimiter)
            self._rest = text[max(0, len(text) - len(self._delimiter) + 1) :]


class _Answers:
    """The answers of a connection; what is no HTTP ends the looking."""

    def __init__(self) -> None:
        self.status = 0
        self.ended = False
        self._began = False
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Take a piece; return whether an answer begins in it. One may begin in each at most."""
        self._began = self.ended = False
        if self._parser is not None:
            try:
                self._parser.feed_data(data)
            except HttpParserError:
                self._parser = None
        return self._began

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        self._began = self.status >= _FINAL

    def on_message_complete(self) -> None:
        self.ended = self.status >= _FINAL


def _kind(method: str, path: str) -> str:
    if method == "POST" and _TOKEN_PATH.search(path):
        return TOKEN
    if method == "POST" and "/dicomWeb/studies" in path:
        return STOW
    if method == "GET" and "/dicomWeb/" in path:
        return SEARCH if _SEARCH_PATH.search(path) else RETRIEVE
    return OTHER


def exchanges_of(connections: Sequence[Connection]) -> list[Exchange]:
    """All that the connections carried, in the order of their beginning."""
    every = (exchange for connection in connections for exchange in connection.exchanges)
    return sorted(every, key=lambda exchange: exchange.first_sent)
