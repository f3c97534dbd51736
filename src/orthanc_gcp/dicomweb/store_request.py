"""The body of a store request: multipart, produced while it is sent (RFC 2046, PS3.18 §8.6)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from orthanc_gcp.errors import GcpError, SourceError, StoreError
from orthanc_gcp.reasons import SourceReason, StoreReason
from orthanc_gcp.redaction import readable

__all__ = ["Part", "Upload"]

SMALLEST_WRITE = 64 * 1024
LARGEST_WRITE = 256 * 1024


@dataclass(frozen=True)
class Part:
    """One instance to be sent: its UIDs, its size in bytes, and how to read it, any time again."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    read: Callable[[], AbstractContextManager[Iterator[bytes]]]

    @property
    def uids(self) -> tuple[str, str, str]:
        """Those of its study, its series and itself."""
        return self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid


class Upload:
    """The body of one request, from its beginning whenever it is iterated.

    Iterating raises SourceError for a part that is not as announced, StoreError when it is stopped.

    Attributes
    ----------
    content_type, length
        The headers that announce it; ``length`` is in bytes.
    parts : int
        How many instances it has.
    sent : int
        Bytes that were handed over so far.
    complete : bool
        Whether all of it was handed over, and taken.

    Parameters
    ----------
    throttle
        Gets the number of bytes before each piece; may sleep.
    stop
        Breaks the request off when it returns True.
    may_end
        Asked before the last piece, without which the store keeps nothing; breaks the request off
        when it returns False.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        throttle: Callable[[int], None] | None = None,
        stop: Callable[[], bool] | None = None,
        may_end: Callable[[], bool] | None = None,
    ) -> None:
        boundary = secrets.token_hex(24)
        self._head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"--{boundary}--\r\n".encode()
        self._parts = parts
        self.parts = len(parts)
        self._throttle = throttle
        self._stop = stop
        self._may_end = may_end
        self.content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        around = len(self._head) + 2
        self.length = sum(part.size_bytes + around for part in parts) + len(self._end)
        self.sent = 0
        self.complete = False

    def __iter__(self) -> Generator[bytearray | memoryview]:
        self.sent, self.complete = 0, False
        for piece in _coalesced(self._pieces()):
            if self._stop is not None and self._stop():
                raise _aborted("stopped while sending")
            if self._throttle is not None:
                self._throttle(len(piece))
            is_last = self.sent + len(piece) == self.length
            if is_last and self._may_end is not None and not self._may_end():
                raise _aborted("it is not to be sent any more")
            yield piece
            self.sent += len(piece)
        self.complete = True

    def _pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            yield self._head
            yield from _counted(part)
            yield b"\r\n"
        yield self._end


def _aborted(words: str) -> StoreError:
    return StoreError(words, reason=StoreReason.ABORTED, retryable=True)


def _counted(part: Part) -> Iterator[bytes]:
    """The bytes of a part, which are as many as announced.

    Whatever the source raises becomes a SourceError: the HTTP library takes a broken pipe for one
    of its own, and would wait for the answer to half a body.
    """
    count = 0
    try:
        with part.read() as pieces:
            for piece in pieces:
                count += len(piece)
                if count > part.size_bytes:
                    break
                yield piece
    except GcpError as error:
        raise _unreadable(part, error, error.reason) from error
    except Exception as error:
        raise _unreadable(part, error, SourceReason.UNREADABLE) from error
    if count != part.size_bytes:
        more = "more than " if count > part.size_bytes else f"{count} of "
        raise SourceError(
            f"instance {readable(part.sop_instance_uid)} has {more}the {part.size_bytes} bytes "
            "announced: it changed meanwhile, or was read only in part; the request was broken off",
            sop_instance_uid=part.sop_instance_uid,
            reason=SourceReason.SIZE,
        )


def _unreadable(part: Part, error: Exception, reason: str) -> SourceError:
    # The words of another error may hold values of the instance.
    words = str(error) if isinstance(error, GcpError) else getattr(error, "strerror", None)
    return SourceError(
        f"instance {readable(part.sop_instance_uid)} could not be read: "
        f"{readable(words or type(error).__name__)}; the request was broken off",
        sop_instance_uid=part.sop_instance_uid,
        reason=reason or SourceReason.UNREADABLE,
    )


def _coalesced(pieces: Iterator[bytes]) -> Iterator[bytearray | memoryview]:
    """The same bytes in writes of a good size: small pieces joined, large ones cut, not copied."""
    gathered = bytearray()
    for piece in pieces:
        if len(gathered) + len(piece) <= LARGEST_WRITE:
            gathered += piece
            if len(gathered) < SMALLEST_WRITE:
                continue
            yield gathered
        else:
            if gathered:
                yield gathered
            yield from _cut(piece)
        gathered = bytearray()
    if gathered:
        yield gathered


def _cut(piece: bytes) -> Iterator[memoryview]:
    view = memoryview(piece)
    for start in range(0, len(view), LARGEST_WRITE):
        yield view[start : start + LARGEST_WRITE]
