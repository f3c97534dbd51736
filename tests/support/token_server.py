"""A token endpoint that answers as a test tells it to, with the faults of real networks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import urllib3

Answer = Callable[["Handler", dict[str, str]], None]


def token(value: str = "ya29.test", lifetime: Any = 3600, **more: Any) -> Answer:
    """An ordinary answer of a token endpoint."""
    return fields({"access_token": value, "expires_in": lifetime, "token_type": "Bearer", **more})


def fields(document: Any, status: int = 200) -> Answer:
    return raw(json.dumps(document).encode(), status, "application/json")


def error(code: str, description: str, status: int = 400) -> Answer:
    return fields({"error": code, "error_description": description}, status)


def raw(
    body: bytes,
    status: int = 200,
    kind: str = "text/html",
    length: int | None = None,
    **headers: str,
) -> Answer:
    def answer(handler: Handler, _: dict[str, str]) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        if length is not None:
            handler.close_connection = True

    return answer


def forward(url: str) -> Answer:
    """What another endpoint says."""
    http = urllib3.PoolManager(retries=False, cert_reqs="CERT_NONE")

    def answer(handler: Handler, form: dict[str, str]) -> None:
        reply = http.request("POST", url, fields=form, encode_multipart=False)
        raw(reply.data, reply.status, reply.headers["Content-Type"])(handler, form)

    return answer


def endless(handler: Handler, _: dict[str, str]) -> None:
    """A body that never ends, a little at a time."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    handler.close_connection = True
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b" " * 10)


def hanging(handler: Handler, _: dict[str, str]) -> None:
    """No answer at all while the server lives."""
    handler.server.closing.wait()
    handler.close_connection = True


def slow(seconds: float, then: Answer) -> Answer:
    def answer(handler: Handler, form: dict[str, str]) -> None:
        time.sleep(seconds)
        then(handler, form)

    return answer


def reset(handler: Handler, _: dict[str, str]) -> None:
    handler.connection.close()
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    """Answers token requests as told; as a store, it notes the token of each request."""

    protocol_version = "HTTP/1.1"
    server: TokenServer

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.bearers[self.path] = self.headers.get("Authorization", "")
        raw(b"[]", self.server.store_status, kind="application/dicom+json")(self, {})

    def do_DELETE(self) -> None:
        raw(b"{}", kind="application/json")(self, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = dict(parse_qsl(body.decode(errors="replace")))
        with self.server.lock:
            self.server.requests.append((time.monotonic(), self.path, form))
            answer = self.server.answers.get(self.path, self.server.answer)
        try:
            answer(self, form)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class TokenServer(ThreadingHTTPServer):
    """Serves on a port of its own from construction to ``close()``."""

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, answer: Answer | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answer = answer or token()
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[float, str, dict[str, str]]] = []
        self.bearers: dict[str, str] = {}
        self.store_status = 200
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/token"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> TokenServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        pass
