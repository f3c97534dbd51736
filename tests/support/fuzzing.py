"""Requests that nobody should send, to a process of its own, and what must hold meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.auditing import audited, taken_from_elsewhere

Header = tuple[bytes, bytes]

ANSWER_WITHIN = 30.0
END_WITHIN = 10.0
"""Seconds after the client said that nothing follows."""
SILENCE = 0.05
"""Seconds after which a request that is none is taken to get no answer."""
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_NOT_EMULATED = 501
_CODECS = "orthanc_gcp/emulator/dicom/imaging_pool.py:_start"
"""The only program that one of the processes starts."""
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What no line of a log has: it would act on a terminal, or feign another line."""


def bounded(examples: int, seed: int | None = None) -> settings:
    """So many examples, always the same ones unless a seed is given to the test."""
    return settings(
        max_examples=examples,
        derandomize=seed is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


# -- The process ----------------------------------------------------------------------------------


class Watched:
    """A process that is asked, with its log in a file.

    Parameters
    ----------
    most_memory
        Bytes that each of its processes may ever have had.
    most_lines
        Lines that its log may have in the end, whatever it was asked.
    """

    def __init__(
        self,
        process: subprocess.Popen[Any],
        port: int,
        log: Path,
        *,
        most_memory: int,
        most_lines: int,
    ) -> None:
        self.process, self.port, self._log = process, port, log
        self._most_memory, self._most_lines = most_memory, most_lines
        self._seen = self._noted = 0

    excuses: tuple[bytes, ...] = ()
    """What a 503 may say: nobody but its surroundings can be blamed for it."""

    def fill(self, request: Request) -> Request:
        """Put into a request what only the process itself knows."""
        return request

    def exchange(self, pieces: Sequence[bytes], *, is_request: bool) -> bytes:
        """Send something; all that comes until the end of the connection.

        What is no request may get no answer, but the connection has to end when the client's does.
        """
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_WITHIN) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
                answer = _all_of(connection, is_request=is_request)
        return answer

    def check(self) -> None:
        """Whether it lives, within its bounds, and has written nothing that it should not."""
        assert self.process.poll() is None, self.log[-3000:]
        log = self.log
        new, self._seen = log[self._seen :], len(log)
        assert "Traceback" not in new, new[:5000]
        assert not (found := _FORBIDDEN.search(new)), new[max(0, found.start() - 300) :][:600]
        assert log.count("\n") <= self._most_lines, log[-3000:]
        assert max(self.peaks()) <= self._most_memory, self.peaks()
        noted = taken_from_elsewhere(self._log.parent).splitlines()
        found_now, self._noted = noted[self._noted :], len(noted)
        assert not [line for line in found_now if _CODECS not in line], found_now[:10]

    def peaks(self) -> list[int]:
        """The most memory that it, and each of its children, ever had in bytes (proc(5))."""
        own = psutil.Process(self.process.pid)
        found = []
        for process in (own, *own.children(recursive=True)):
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                found += [
                    int(n) * 1024 for n in re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
                ]
        return found

    @property
    def log(self) -> str:
        return self._log.read_text(errors="surrogateescape")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("it does not end") from None


def _all_of(connection: socket.socket, *, is_request: bool) -> bytes:
    answer, has_ended = b"", False
    connection.settimeout(ANSWER_WITHIN if is_request else SILENCE)
    began = time.monotonic()
    while True:
        try:
            piece = connection.recv(1 << 16)
        except TimeoutError:
            assert not has_ended, "the connection does not end"
            has_ended = True
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(END_WITHIN)
            continue
        if not piece:
            assert not is_request or not has_ended, "a request is not answered"
            return answer
        answer += piece
        assert time.monotonic() - began < 2 * ANSWER_WITHIN, "the answer does not end"


def no_fault_of_the_server(
    answer: bytes, *, is_request: bool, excuses: tuple[bytes, ...] = ()
) -> list[int]:
    """Check an answer; its statuses."""
    for excuse in excuses:
        if excuse in answer:
            answer = answer.replace(b"HTTP/1.1 503 ", b"HTTP/1.1 409 ", answer.count(excuse))
    statuses = [int(status) for status in _STATUS.findall(answer)]
    if is_request:
        assert answer.startswith(b"HTTP/1.1 "), answer[:300]
    if answer:
        assert statuses, answer[:300]
    wrong = [status for status in statuses if status >= 500 and status != _NOT_EMULATED]
    assert not wrong, answer[:3000]
    assert b"Traceback" not in answer
    return statuses


# -- HTTP -----------------------------------------------------------------------------------------


class _Shown:
    """What hypothesis shows as far as somebody would read it."""

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))


class Pieces(_Shown, tuple[bytes, ...]):
    """What is sent."""

    def __repr__(self) -> str:
        return f"Pieces({tuple.__repr__(self)[:3000]})"


@dataclass(frozen=True, repr=False)
class Request(_Shown):
    """A request as it would be right."""

    verb: str
    target: str
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    is_chunked: bool = False
    cuts: tuple[int, ...] = ()

    def __repr__(self) -> str:
        shown = (self.verb, self.target, self.headers, self.body, self.is_chunked, self.cuts)
        return f"Request({', '.join(repr(one)[:600] for one in shown)})"

    def with_header(self, name: str, value: str | bytes) -> Request:
        content = value if isinstance(value, bytes) else value.encode("latin-1", "replace")
        return replace(self, headers=(*self.headers, (name.encode(), content)))

    def with_text(self, name: str, value: str) -> Request:
        """The same with a header that is none of those that end it (RFC 9110 section 5.5)."""
        return self.with_header(name, re.sub("[\0\r\n]", "", value).strip().encode())

    @property
    def head(self) -> bytes:
        framing = (
            (b"Transfer-Encoding", b"chunked")
            if self.is_chunked
            else (b"Content-Length", str(len(self.body)).encode())
        )
        target = self.target.encode("utf-8", "surrogateescape")
        lines = [f"{self.verb} ".encode() + target + b" HTTP/1.1", b"Host: 127.0.0.1"]
        lines += [name + b": " + value for name, value in (*self.headers, framing)]
        return b"\r\n".join((*lines, b"Connection: close", b"", b""))

    @property
    def pieces(self) -> list[bytes]:
        """What is sent, piece by piece."""
        places = [0, *sorted(at % (len(self.body) + 1) for at in self.cuts), len(self.body)]
        parts = [self.body[a:b] for a, b in itertools.pairwise(places) if a < b]
        if not self.is_chunked:
            return [self.head + b"".join(parts[:1]), *parts[1:]]
        chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
        return [self.head, *chunks, b"0\r\n\r\n"]


hostile_texts = st.sampled_from(
    [
        *("", "a", "..", "../..", "./.", "/", "//", "%", "%00", "%2e%2e%2f", "*", "\0", "\x1b[31m"),
        *(
            "a\r\nX-Injected: b",
            "é",
            "\u202eabc",
            "日本",
            "😀",
            "' OR 1=1 --",
            '"',
            "\\",
            "{}",
            "[]",
        ),
        *("-1", "0", "1", "007", "1e999", "NaN", "9" * 30, "1" * 5000, "0" * 5000, "1.2.3", "null"),
        *("a" * 300, "a" * 3000, "true", "=cmd|' /C calc'!A0", "${jndi:ldap://x}", "${HOME}"),
        *("2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
        *("٣", "²", "1_0_0", "1_0", " 1 ", "+1", "0x10", "\ufeff", "\ufffe", "=" * 50, "-" * 70),
    ]
) | st.text(max_size=12)

values_of_json: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**30, 1e308, float("inf"), float("nan"), -0.0])
    | hostile_texts
    | st.sampled_from(["\ud800", "a\udfffb"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(hostile_texts, below, max_size=3),
    max_leaves=6,
)


def mostly(right: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is refused at once goes no further: three of four are right."""
    return st.integers(0, 3).flatmap(lambda n: right if n else odd)


_DEEP = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"[" * 900 + b"]" * 900,
    b'{"a":' * 900 + b"1" + b"}" * 900,
)


def json_bodies(objects: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Bodies that are mostly JSON, and mostly what is expected."""
    odd = st.sampled_from(
        [
            *(b"", b"null", b"[]", b"{}", b"1" * 5000, b'"\\ud800"', b'{"a":1}{"b":2}', b"\xff"),
            *(b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-32"), b"\0" * 50, b"NaN"),
            *(b'{"a":1,"a":2}', b'{"\\u0000":"\\u0000"}', b" " * 5000 + b"{}", *_DEEP),
        ]
    )
    whole = objects.map(lambda value: json.dumps(value).encode())
    return mostly(whole, odd | st.binary(max_size=40))


@st.composite
def framings(draw: st.DrawFn, request: Request) -> Request:
    """A request, in chunks or not, sent in pieces."""
    if draw(st.booleans()):
        return request
    cuts = tuple(draw(st.lists(st.integers(0, 1 << 20), max_size=4)))
    return replace(request, is_chunked=draw(st.booleans()), cuts=cuts)


_HEADERS = st.sampled_from(
    [
        *("Accept", "Content-Type", "Content-Encoding", "Range", "If-Range", "If-Match", "Origin"),
        *(
            "Expect",
            "Upgrade",
            "Trailer",
            "X-Forwarded-For",
            "Cookie",
            "Accept-Encoding",
            "Referer",
        ),
        *("Content-Length", "Transfer-Encoding", "Host", "Connection", "Authorization", "TE"),
        *(
            "Access-Control-Request-Method",
            "Sec-Fetch-Site",
            "Content-Disposition",
            "Storage-Class",
        ),
        *(
            "X-HTTP-Method-Override",
            "X-Goog-User-Project",
            "Proxy-Authorization",
            "Via",
            "Priority",
        ),
    ]
)
_VALUES = hostile_texts.map(lambda text: text.encode()) | st.sampled_from(
    [
        *(b"chunked", b"gzip, chunked", b"chunked, identity", b"identity", b"\x0bchunked"),
        *(b"+3", b"-1", b"3, 3", b"3;", b"0x3", b"3 3", b"99999999999999999999", b"1" * 400),
        *(b"100-continue", b"200-ok", b"websocket", b"h2c", b"keep-alive, Upgrade", b"close"),
        *(b"bytes=0-", b"bytes=-5", b"bytes=5-2", b"bytes=0-1,3-4", b"bytes=0-" + b"9" * 400),
        *(b'"\\"' * 3000, b'"' * 3000, b"a" * 60_000, b",;=" * 3000, b"q=" * 3000, b"*/*;q=nan"),
        *(
            b"[::1",
            b"evil.example",
            b"127.0.0.1, evil.example",
            b"a@b",
            b"*",
            b"Bearer",
            b"Basic x",
        ),
        *(b'multipart/related; type="application/dicom"; boundary=x', b"application/dicom+json"),
        *(
            b"multipart/form-data; boundary=x",
            b"text/html;charset=utf-7",
            b"multipart/mixed",
            b"gzip",
        ),
    ]
)


@st.composite
def mutations(draw: st.DrawFn, request: Request) -> Pieces:
    """What is sent of a request to which something was done."""
    more = draw(st.lists(st.tuples(_HEADERS, _VALUES), max_size=3))
    for name, value in more:
        request = request.with_header(name, value)
    raw = b"".join(draw(framings(request)).pieces)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.sampled_from(_places(raw)) | st.integers(0, len(raw)))
        raw = draw(st.sampled_from(_CHANGES))(raw, at, draw(st.binary(max_size=20)))
    at = draw(st.integers(0, len(raw)))
    return Pieces(piece for piece in (raw[:at], raw[at:]) if piece)


def _places(raw: bytes) -> list[int]:
    """Where it hurts: around the ends of lines."""
    found = [0, len(raw)]
    for match in re.finditer(rb"\r\n|: | ", raw[:3000]):
        found += [match.start(), match.start() + 1, match.end()]
    return found


_CHANGES = (
    lambda raw, at, junk: raw[:at],
    lambda raw, at, junk: raw[at:],
    lambda raw, at, junk: raw[:at] + junk + raw[at:],
    lambda raw, at, junk: raw[:at] + junk + raw[at + len(junk) :],
    lambda raw, at, junk: raw[:at] + b"\0" + raw[at:],
    lambda raw, at, junk: raw[:at] + b"\r\n " + junk + raw[at:],
    lambda raw, at, junk: raw[:at] + b"\r" + raw[at:],
    lambda raw, at, junk: raw[:at] + b"\n" + raw[at:],
    lambda raw, at, junk: raw[:at] + b"\xff" * 20 + raw[at:],
    lambda raw, at, junk: raw + raw,
    lambda raw, at, junk: raw.replace(b"Connection: close\r\n", b"") * 40 + raw,
    lambda raw, at, junk: raw.replace(b"\r\n", b"\n"),
    lambda raw, at, junk: raw.replace(b"HTTP/1.1", b"HTTP/1.0"),
    lambda raw, at, junk: raw.replace(b" HTTP/1.1", b""),
    lambda raw, at, junk: raw.replace(b"HTTP/1.1", b"HTTP/9.9"),
    lambda raw, at, junk: raw.replace(b" /", b" http://evil.example/", 1),
    lambda raw, at, junk: raw.replace(b" /", b" //evil.example/", 1),
    lambda raw, at, junk: raw.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 1),
    lambda raw, at, junk: raw.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n", 1),
    lambda raw, at, junk: raw.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 1),
    lambda raw, at, junk: raw.replace(b"\r\n\r\n", b"\r\n" + b"X: a\r\n" * 300 + b"\r\n", 1),
    lambda raw, at, junk: raw.replace(b"0\r\n\r\n", b"0\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"),
    lambda raw, at, junk: raw.replace(b"0\r\n\r\n", b"0;" + b"a" * 70_000 + b"\r\n\r\n"),
    lambda raw, at, junk: raw.replace(b"0\r\n\r\n", b"f" * 16 + b"\r\n\r\n"),
)


def ask(watched: Watched, request: Request) -> bytes:
    """Send a request that is right as HTTP; the answer.

    Of one that is answered before all of it was sent, the kernel may take the answer back.
    """
    pieces = watched.fill(request).pieces
    answer = watched.exchange(pieces, is_request=True)
    at_once = len(pieces) == 1 and len(pieces[0]) < 32_000
    no_fault_of_the_server(answer, is_request=bool(answer) or at_once, excuses=watched.excuses)
    return answer


def disturb(watched: Watched, pieces: Sequence[bytes]) -> None:
    """Send what may be no request at all."""
    answer = watched.exchange(pieces, is_request=False)
    no_fault_of_the_server(answer, is_request=False, excuses=watched.excuses)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """That of a process whose log is in a folder; see :mod:`tests.support.auditing`."""
    return {**os.environ, **audited(folder), **more}
