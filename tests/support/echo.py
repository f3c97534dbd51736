"""A server that repeats in its errors what it was sent, and what else it knows of a patient.

Each way of saying something in an answer of HTTP is a shape; the text is the same in all of them.
"""

from __future__ import annotations

import html
import itertools
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

Shape = Callable[[str, Sequence[str]], bytes]
"""What is to be said, and the SOP Instance UIDs that it is said of -> an answer."""


def _answer(status: str, kind: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def _json(status: str, document: object, *headers: str, kind: str = "application/json") -> bytes:
    return _answer(status, kind, json.dumps(document).encode(), *headers)


def _google(status: str) -> Shape:
    def shape(text: str, _: Sequence[str]) -> bytes:
        word = text.split()[-1]
        info = {"uid": word, "consumer": f"projects/{word}", "quota_metric": word, "service": word}
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word}]
        details[0] |= {"metadata": info}  # type: ignore[dict-item]
        code = int(status.split()[0])
        error = {"code": code, "status": word, "message": text, "details": details}
        return _json(status, {"error": error})

    return shape


def _oauth(text: str, _: Sequence[str]) -> bytes:
    return _json("400 Bad", {"error": text.split()[-1], "error_description": text, text: text})


def _failed(detail: str) -> Shape:
    def shape(text: str, uids: Sequence[str]) -> bytes:
        items = [
            {
                "00081155": {"vr": "UI", "Value": [uid]},
                "00081197": {"vr": "US", "Value": [272]},
                "00091097": {"vr": "LT", "Value": [f"{detail} {text}"]},
            }
            for uid in uids
        ]
        document = {"00081198": {"vr": "SQ", "Value": items}}
        return _json("409 Conflict", document, kind="application/dicom+json")

    return shape


def _failed_in_xml(text: str, uids: Sequence[str]) -> bytes:
    words = html.escape(text)
    items = "".join(
        f'<Item number="1"><DicomAttribute tag="00081155" vr="UI"><Value number="1">{uid}</Value>'
        '</DicomAttribute><DicomAttribute tag="00090097" vr="LT">'
        f'<Value number="1">{words}</Value></DicomAttribute></Item>'
        for uid in uids
    )
    body = (
        '<NativeDicomModel><DicomAttribute tag="00081198" vr="SQ">'
        f"{items}</DicomAttribute></NativeDicomModel>"
    )
    return _answer("409 Conflict", "application/dicom+xml", body.encode())


def _foreign(text: str, _: Sequence[str]) -> bytes:
    items = [{"00081155": {"vr": "UI", "Value": [word]}} for word in text.split()]
    document = {"00081199": {"vr": "SQ", "Value": items}}
    return _json("200 OK", document, kind="application/dicom+json")


def _text(status: str, kind: str) -> Shape:
    return lambda text, _: _answer(status, kind, text.encode())


def _headers(text: str, _: Sequence[str]) -> bytes:
    word = quote(text.split()[-1])
    return (
        f"HTTP/1.1 400 {text}\r\nContent-Type: application/{word}\r\nX-Error: {text}\r\n"
        f"Retry-After: {text}\r\nServer: {word}\r\nDate: {text}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


SHAPES: dict[str, Shape] = {
    "google 400": _google("400 Bad Request"),
    "google 403": _google("403 Forbidden"),
    "google 404": _google("404 Not Found"),
    "google 429": _google("429 Too Many Requests"),
    "google 503": _google("503 Unavailable"),
    "oauth": _oauth,
    "failed": _failed(""),
    "invalid": _failed("invalid DICOM instance:"),
    "exists": _failed("already exists:"),
    "failed in XML": _failed_in_xml,
    "foreign": _foreign,
    "plain text": _text("400 Bad Request", "text/plain"),
    "web page": _text("500 Error", "text/html"),
    "unnamed 409": _text("409 Conflict", "application/xml"),
    "page for an answer": _text("200 OK", "text/html"),
    "headers": _headers,
    "media type": lambda text, _: _json("200 OK", [text], kind=f"x/{quote(text)}"),
    "redirect": lambda text, _: _answer(
        "302 Found", "text/html", b"", f"Location: https://elsewhere/{quote(text)}?{quote(text)}"
    ),
    "401": lambda text, _: _answer(
        "401 No", "text/plain", text.encode(), f'WWW-Authenticate: Bearer error="{text}"'
    ),
    "407": lambda text, _: _answer(
        "407 No", "text/html", text.encode(), f'Proxy-Authenticate: Basic realm="{text}"'
    ),
    "status line": lambda text, _: f"{text}\r\n\r\n".encode(),
    "status": lambda text, _: f"HTTP/1.1 {text} {text}\r\n\r\n".encode(),
    "header without a colon": lambda text, _: (
        f"HTTP/1.1 500 Error\r\n{text.replace(':', ' ')}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    ),
    "chunk": lambda text, _: (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text}\r\n{text}\r\n".encode()
    ),
    "coding": lambda text, _: _answer(
        "200 OK", "application/dicom+json", text.encode(), "Content-Encoding: gzip"
    ),
    "truncated": lambda text, _: f"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{text}".encode(),
}


def spellings(text: str) -> str:
    """A text as it is, and as others spell it, in one."""
    escaped = "".join(f"\\u{ord(character):04x}" for character in text)
    entities = "".join(f"&#{ord(character)};" for character in text)
    encoded = b64encode(text.encode()).decode()
    return " ".join([text, text.upper(), quote(text, safe=""), escaped, entities, encoded])


def found_in(text: str, sentinels: Iterable[str]) -> list[str]:
    """The sentinels that somebody could read in a text, in whatever of these spellings."""
    plain = text.lower()
    return [
        one
        for one in sentinels
        if any(spelling.lower() in plain for spelling in spellings(one).split() if len(one) > 3)
    ]


class EchoServer:
    """Answers each request in a shape, by turns.

    Parameters
    ----------
    knows
        What it says of patients, beside what it was sent.

    Attributes
    ----------
    shapes
        The names of those that it uses.
    answers
        Path -> what it answers there instead.
    said
        The names of the shapes that it has used.
    """

    def __init__(self, knows: Iterable[str] = (), shapes: Iterable[str] = SHAPES) -> None:
        self.knows = tuple(knows)
        self.shapes = list(shapes)
        self.answers: dict[str, bytes] = {}
        self.said: set[str] = set()
        self._turns: Iterator[int] = itertools.count()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _reply(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.wfile.write(server._reply(self.path, dict(self.headers), body))
                self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_CONNECT = _reply  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Clients hang up as they like."""

        self._http = Server(("127.0.0.1", 0), Handler)
        self.port = self._http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> EchoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _reply(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if path in self.answers:
            return self.answers[path]
        uids = re.findall(rb"1\.2\.826\.0\.1\.3680043\.8\.498\.\d{10,64}", body)
        name = self.shapes[next(self._turns) % len(self.shapes)]
        self.said.add(name)
        sent = [f"{key}: {value}" for key, value in headers.items() if key != "Content-Type"]
        form = [body.decode(errors="replace")] if len(body) < 4000 and b"\0" not in body else []
        text = " ".join([*map(spellings, self.knows), *form, *sent])
        line = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
        token = headers.get("Authorization", "none").split()[-1]
        named = list(dict.fromkeys(uid.decode() for uid in uids))
        return SHAPES[name](f"refused {line} {token}", named)
