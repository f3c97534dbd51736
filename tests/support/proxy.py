"""An HTTP proxy: forwards requests, tunnels CONNECT, may ask for a password."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, until one of them hangs up; then both are ended."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for ended in (source, target):
        with contextlib.suppress(OSError):
            ended.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_POST(self) -> None:
        if not self._allowed("POST"):
            return
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        upstream = HTTPConnection(parts.netloc)
        upstream.request(
            "POST", parts.path, body, {"Content-Type": self.headers["Content-Type"] or ""}
        )
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_CONNECT(self) -> None:
        if not self._allowed("CONNECT"):
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            # Each way for itself: who does not read has nevertheless to be heard.
            back = threading.Thread(target=_pass_on, args=(upstream, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, upstream)
            back.join()
            self.close_connection = True

    def _allowed(self, method: str) -> bool:
        self.server.asked.append(f"{method} {self.path}")
        wanted = self.server.credentials
        given = self.headers.get("Proxy-Authorization", "")
        if wanted and given != f"Basic {base64.b64encode(wanted.encode()).decode()}":
            self.send_error(407)
            return False
        self.server.requests.append(f"{method} {self.path}")
        return True

    def log_message(self, *_: Any) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, credentials: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.credentials = credentials
        self.asked: list[str] = []
        self.requests: list[str] = []
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Clients hang up as they like."""

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
