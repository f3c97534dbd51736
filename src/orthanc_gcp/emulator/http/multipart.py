"""``multipart/related`` bodies, read while they arrive (RFC 2046 section 5.1, RFC 2387).

The reader holds back no more than the bytes that may be the beginning of a delimiter, so a part
of any size passes through in constant memory, and whoever reads it may wait between two pieces.

Why it is our own: libraries of Python read ``multipart/form-data`` (RFC 7578), and STOW-RS sends
``multipart/related``. The parser of ``multipart`` (2.0) refuses a part without
``Content-Disposition``, as every part of STOW-RS is. That of ``python-multipart`` (0.0.34) refuses
a preamble and padding after the first boundary, which RFC 2046 section 5.1.1 allows, and does not
notice that a body ends before its closing delimiter: what broke off would be stored as if it were
whole. The standard library's ``email`` holds a message in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["MultipartError", "MultipartReader", "PartData", "PartEnd", "PartStart"]

MAX_BOUNDARY = 200  # RFC 2046 says 70; some clients exceed it
MAX_HEADERS = 16 * 1024
MAX_PADDING = 256
_LINE_END = b"\r\n"


class MultipartError(ValueError):
    """The body does not follow the rules of multipart."""


@dataclass(frozen=True)
class PartStart:
    """A part begins.

    Of its headers, by their names in lower case, the first of each name counts.
    """

    headers: dict[str, str]


@dataclass(frozen=True)
class PartData:
    """Some bytes of the current part, never none."""

    data: memoryview


@dataclass(frozen=True)
class PartEnd:
    """The current part is complete."""


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()
    HEADERS = auto()
    DATA = auto()
    EPILOGUE = auto()


Event = PartStart | PartData | PartEnd


class MultipartReader:
    """Turns the pieces of a body into events.

    Call :meth:`feed` with each piece, consume what it yields, and call :meth:`close` after the
    last.

    Parameters
    ----------
    boundary : str
        The parameter of ``Content-Type``, without the two dashes.

    Raises
    ------
    MultipartError
        The boundary is empty, too long or not ASCII.
    """

    def __init__(self, boundary: str) -> None:
        if not 1 <= len(boundary) <= MAX_BOUNDARY or not boundary.isascii():
            raise MultipartError(f"a boundary has 1 to {MAX_BOUNDARY} ASCII characters")
        self._delimiter = _LINE_END + b"--" + boundary.encode("ascii")
        self._state = _State.PREAMBLE
        # The first delimiter has no line end of its own when there is no preamble.
        self._buffer = b""
        self._held = _LINE_END
        self._at = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what the next piece of the body completes.

        Raises
        ------
        MultipartError
            After a boundary there is something else than a line end, or headers are malformed or
            longer than 16 KiB.
        """
        self._buffer = self._held + data if self._held else data
        self._held = b""
        self._at = 0
        while self._at < len(self._buffer):
            if self._state is _State.DATA:
                yield from self._read_data()
            elif self._state is _State.HEADERS:
                yield from self._read_headers()
            elif self._state is _State.DELIMITER:
                self._finish_delimiter()
            elif self._state is _State.PREAMBLE:
                self._skip_preamble()
            else:
                return

    def close(self) -> None:
        """Say that the body has ended.

        Raises
        ------
        MultipartError
            Its closing delimiter did not come.
        """
        if self._state is not _State.EPILOGUE:
            raise MultipartError("the body ends before its closing delimiter")

    def _hold(self, start: int) -> None:
        """Hold the rest of the buffer back until more arrives."""
        self._held = self._buffer[start:]
        self._at = len(self._buffer)

    def _skip_preamble(self) -> None:
        found = self._buffer.find(self._delimiter, self._at)
        if found < 0:
            self._hold(max(self._at, len(self._buffer) - len(self._delimiter) + 1))
        else:
            self._at = found + len(self._delimiter)
            self._state = _State.DELIMITER

    def _finish_delimiter(self) -> None:
        """Read what follows the boundary: two dashes, or padding and a line end."""
        if self._buffer.startswith(b"--", self._at):
            self._state = _State.EPILOGUE
            return
        end = self._buffer.find(_LINE_END, self._at)
        padding = self._buffer[self._at : None if end < 0 else end]
        if len(padding) > MAX_PADDING or (
            padding.strip(b" \t\r") and (end >= 0 or padding != b"-")
        ):
            raise MultipartError("unexpected bytes after a boundary")
        if end < 0:
            self._hold(self._at)
        else:
            # The line end stays, so that a part without headers looks like any other.
            self._at = end
            self._state = _State.HEADERS

    def _read_headers(self) -> Iterator[Event]:
        end = self._buffer.find(_LINE_END + _LINE_END, self._at)
        size = (len(self._buffer) if end < 0 else end) - self._at
        if size > MAX_HEADERS:
            raise MultipartError("the headers of a part are too long")
        if end < 0:
            self._hold(self._at)
        else:
            headers = _parse_headers(self._buffer[self._at : end])
            self._at = end + 4
            self._state = _State.DATA
            yield PartStart(headers)

    def _read_data(self) -> Iterator[Event]:
        start, found = self._at, self._buffer.find(self._delimiter, self._at)
        end = self._possible_delimiter() if found < 0 else found
        if found < 0:
            self._hold(end)
        else:
            self._at = found + len(self._delimiter)
            self._state = _State.DELIMITER
        if end > start:
            yield PartData(memoryview(self._buffer)[start:end])
        if found >= 0:
            yield PartEnd()

    def _possible_delimiter(self) -> int:
        """Return where the tail begins that more bytes might turn into a delimiter."""
        size = len(self._buffer)
        start = max(self._at, size - len(self._delimiter) + 1)
        while (start := self._buffer.find(b"\r", start)) >= 0:
            if self._delimiter.startswith(self._buffer[start:]):
                return start
            start += 1
        return size


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.split(_LINE_END):
        name, found, value = line.decode("latin-1").partition(":")
        if found:
            headers.setdefault(name.strip().lower(), value.strip())
        elif line.strip():
            raise MultipartError("a header of a part has no colon")
    return headers
