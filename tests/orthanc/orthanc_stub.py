"""A server that answers some paths as Orthanc does, and nothing else."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answers = dict[str, Any]
"""``GET /path?query`` or ``POST /path`` -> what is answered: JSON, bytes, a status, or a function
of the request's JSON."""


_VERSION = re.compile(r"\?[0-9a-f-]{36}$")
"""Which file of an instance is read: that of the only one, here."""


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = _parsed(self.rfile.read(length))
        key = f"{self.command} {self.path}"
        self.server.requests.append((key, body, dict(self.headers)))
        answers = self.server.answers
        answer = answers.get(key, answers.get(_VERSION.sub("", key), 404))
        if callable(answer):
            answer = answer(body)
        status = answer if isinstance(answer, int) else 200
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(self.server.length or len(data)))
        self.end_headers()
        self.wfile.write(data)

    def __getattr__(self, name: str) -> Any:
        """``do_GET`` and its kind."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        pass


def _parsed(content: bytes) -> Any:
    """The body of a request: JSON, or text where it is none."""
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content.decode()


class Stub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answers: Answers) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.length = 0
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def stub(answers: Answers) -> Iterator[Stub]:
    with Stub(answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()
