"""What stands between a hospital and Google: passes requests on, but for those it dislikes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.raw_server import reset

_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Front(ThreadingHTTPServer):
    """Gives requests to ``target``, an address, once it is set.

    Attributes
    ----------
    largest
        Longer bodies are answered 413.
    dislikes
        Bytes -> the status, or ``reset``, of a request that has them in its body; or ``stall``:
        it is not answered before it is closed.
    stalls
        What is in the paths of requests that are not answered before it is closed.
    hides
        Part of a path -> the status of requests for it, as where only some paths are let through.
    posts
        How many requests to store there were.
    heads
        What each request had as method, path and headers.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.target = ""
        self.largest = 1 << 40
        self.dislikes: dict[bytes, int | str] = {}
        self.stalls = ""
        self.hides: dict[str, int] = {}
        self.closed = threading.Event()
        self.posts = 0
        self.heads: list[tuple[str, str, dict[str, str]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def server_close(self) -> None:
        self.closed.set()
        super().server_close()

    @contextmanager
    def passing(self, body: bytes) -> Iterator[None]:
        """Around each request that is passed on, for whoever wants to see its body."""
        yield

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up as they like."""


class _Handler(BaseHTTPRequestHandler):
    server: Front
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the client is gone
            self.close_connection = True
            return
        self.server.posts += self.command == "POST"
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.heads.append((self.command, self.path, headers))
        trouble = next((what for of, what in self.server.dislikes.items() if of in body), None)
        hidden = (status for part, status in self.server.hides.items() if part in self.path)
        trouble = next(hidden, trouble)
        if trouble == "stall" or (self.server.stalls and self.server.stalls in self.path):
            self.server.closed.wait()
        if len(body) > self.server.largest:
            trouble = 413
        if trouble == "reset":
            self.close_connection = True
            reset(self.connection)
        elif trouble is not None:
            self._answer(int(trouble), {"Content-Type": "text/html"}, b"<html>no</html>")
        else:
            upstream = HTTPConnection(urlsplit(self.server.target).netloc)
            with self.server.passing(body):
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                data = answer.read()
            upstream.close()
            self._answer(answer.status, dict(answer.headers), data)

    do_GET = do_POST = do_PUT = _pass  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""
