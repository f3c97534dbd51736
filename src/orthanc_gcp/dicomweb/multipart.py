"""An answer of several files, taken apart while it comes (RFC 2046 §5.1, RFC 2387).

Never more than a piece of it is in memory. What is no such answer is an error, and so is one that
ends before its closing delimiter: a file of it that was cut would look whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.message import Message

from orthanc_gcp.redaction import readable

__all__ = ["MultipartError", "boundary_of", "split_parts"]

LONGEST_HEAD = 16 * 1024
LONGEST_PREAMBLE = 64 * 1024
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_FILE = "application/dicom"


class MultipartError(Exception):
    """An answer is not one of files, or not whole.

    Attributes
    ----------
    truncated
        Whether it has ended too early.
    """

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated


def boundary_of(headers: Mapping[str, str]) -> bytes:
    """What separates the parts of an answer with these headers.

    Raises
    ------
    MultipartError
        It is no answer of several parts, or came compressed.
    """
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise MultipartError("the files came compressed, though they were asked for as they are")
    kind = headers.get("Content-Type", "")
    head = Message()
    if kind.isascii() and kind.isprintable():
        head["Content-Type"] = kind.rstrip("; ")
    if head.get_content_type() != "multipart/related":
        raise MultipartError(f"files were asked for, {readable(kind) or 'something'} came")
    boundary = head.get_param("boundary")
    if not isinstance(boundary, str) or _BOUNDARY.fullmatch(boundary) is None:
        raise MultipartError("its parts have no boundary that could be one")
    return boundary.encode("ascii")


def split_parts(pieces: Iterator[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """The bytes of each part that is a DICOM file, piece by piece.

    A part that its reader leaves is skipped.

    Raises
    ------
    MultipartError
        What came is no such answer, or not whole; the iterators of parts raise it as well.
    """
    return _Reader(pieces, boundary).parts()


class _Reader:
    """Reads up to what separates parts.

    Parameters
    ----------
    pieces
        The body; none of them is empty.
    """

    def __init__(self, pieces: Iterator[bytes], boundary: bytes) -> None:
        self._pieces, self._delimiter = pieces, b"\r\n--" + boundary
        # The first delimiter may stand at the very beginning (RFC 2046 §5.1.1).
        self._data = bytearray(b"\r\n")

    def parts(self) -> Iterator[Iterator[bytes]]:
        """Each part, when that before it was read to its end."""
        self._skip(LONGEST_PREAMBLE)
        while self._opens_a_part():
            self._check(self._head())
            part = self._content()
            yield part
            for _ in part:
                pass

    def _skip(self, limit: int) -> None:
        """Pass over what comes before the first delimiter."""
        for piece in self._until_delimiter():
            limit -= len(piece)
            if limit < 0:
                raise MultipartError("its parts do not begin")

    def _content(self) -> Iterator[bytes]:
        """What a part has behind its head.

        The line break at the end of the head may be the one before the next delimiter: a part
        that is empty has no other.
        """
        self._data[:0] = b"\r\n"
        skip = 2
        for piece in self._until_delimiter():
            content = piece[skip:]
            skip -= len(piece) - len(content)
            if content:
                yield content

    def _until_delimiter(self) -> Iterator[bytes]:
        """What comes before the next delimiter, which is taken away."""
        overlap = len(self._delimiter) - 1
        while (place := self._data.find(self._delimiter)) < 0:
            if len(self._data) > overlap:
                piece = bytes(self._data[:-overlap])
                del self._data[:-overlap]
                yield piece
            self._read()
        if place:
            yield bytes(self._data[:place])
        del self._data[: place + len(self._delimiter)]

    def _opens_a_part(self) -> bool:
        """Whether a part follows a delimiter, and not the end of all of them."""
        while len(self._data) < 2:
            self._read()
        if self._data.startswith(b"--"):
            return False
        line = self._line()
        if line.strip(b" \t"):
            raise MultipartError("one of its parts has a boundary of its own")
        return True

    def _head(self) -> Mapping[str, str]:
        """The header fields of a part, by their names in lower case."""
        found: dict[str, str] = {}
        left = LONGEST_HEAD
        while line := self._line():
            left -= len(line)
            if left < 0:
                raise MultipartError("the head of one of its parts does not end")
            name, _, value = line.decode("latin-1").partition(":")
            found[name.strip().lower()] = value.strip()
        return found

    def _line(self) -> bytes:
        while (place := self._data.find(b"\r\n")) < 0:
            if len(self._data) > LONGEST_HEAD:
                raise MultipartError("the head of one of its parts does not end")
            self._read()
        line = bytes(self._data[:place])
        del self._data[: place + 2]
        return line

    def _check(self, head: Mapping[str, str]) -> None:
        kind = head.get("content-type", _FILE).partition(";")[0].strip().lower()
        if kind != _FILE:
            raise MultipartError(f"a file was asked for, {readable(kind) or 'something'} came")

    def _read(self) -> None:
        piece = next(self._pieces, b"")
        if not piece:
            raise MultipartError("the answer broke off before its end", truncated=True)
        self._data += piece
