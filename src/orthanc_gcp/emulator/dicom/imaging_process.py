"""The process that decodes, encodes and renders: ``python -m …imaging_process``.

Codecs are native code: data that are wrong, or a codec that two threads use at once, can end the
process that they run in. So they run in this one, a job at a time, which is started again when it
dies (see :mod:`orthanc_gcp.emulator.dicom.imaging_pool`). Its standard input is a socket: a job
comes as a line of JSON, and with it the open file of the instance and another to write to; the
answers are lines of JSON. The process ends when the other end of the socket is closed.
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from orthanc_gcp.emulator.dicom.compression import compress
from orthanc_gcp.emulator.dicom.decoding import DecodableImage, decode
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError, reason_of
from orthanc_gcp.emulator.dicom.imaging_jobs import (
    MAX_LINE,
    FrameConversion,
    Job,
    Rendering,
    Transcoding,
    from_line,
)
from orthanc_gcp.emulator.dicom.rendering import render, to_png
from orthanc_gcp.emulator.dicom.transcoding import open_decodable, transcode
from orthanc_gcp.emulator.dicom.transfer_syntaxes import DEFAULT
from orthanc_gcp.emulator.dicom.viewports import MAX_SIDE, ViewportError

__all__ = ["Imaging", "ImagingProcess", "main"]

MAX_MEMORY = 4 * 1024**3
"""Bytes of address space: for an instance of 1 GB, and what it becomes."""
MAX_SECONDS = 90
"""A frame that takes longer ends the process, even when nobody is left who would end it."""
IDLE = 1.0
"""Seconds after which the file of the last job is closed: it may have been deleted."""
JPEG_QUALITY = 90
MAX_VIEWPORT_SIZE = 50_000_000
"""Larger frames do not get a viewport (Healthcare API, quotas and limits)."""

_MAX_REASON = 2000


@dataclass(frozen=True)
class OpenImage:
    """The image of the last job: the next one is often about the same.

    ``file`` is open as long as this is, so that no other has its ``identity`` meanwhile.
    """

    identity: tuple[int, int]
    file: BinaryIO
    pixels: DecodableImage

    def close(self) -> None:
        self.pixels.close()
        self.file.close()


class ImagingProcess:
    """Carries out the jobs that come through a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._imaging = Imaging(self._send)

    def run(self) -> None:
        """Carry out jobs until the other end of the socket is closed."""
        while received := self._receive():
            line, source, target = received
            # The kernel ends the process, whatever native code it is in.
            signal.alarm(MAX_SECONDS)
            self._imaging.answer(from_line(line), source, target)
            signal.alarm(0)

    def _receive(self) -> tuple[bytes, BinaryIO, BinaryIO] | None:
        if not self._is_readable():
            self._imaging.close()
        line, descriptors, _, _ = socket.recv_fds(self._connection, MAX_LINE, 2)
        while not line.endswith(b"\n"):
            more = self._connection.recv(MAX_LINE)
            if not more:  # closed, maybe in the middle of a line
                return None
            line += more
        source, target = descriptors
        return line, os.fdopen(source, "rb"), os.fdopen(target, "r+b")

    def _is_readable(self) -> bool:
        return bool(select.select([self._connection], [], [], IDLE)[0])

    def _send(self, answer: dict[str, Any]) -> None:
        if "progress" in answer:
            signal.alarm(MAX_SECONDS)
        self._connection.sendall(json.dumps(answer).encode() + b"\n")


class Imaging:
    """Carries out jobs, one after another.

    Parameters
    ----------
    send
        Is called with each answer: any number that say ``progress``, then one with ``done``,
        ``refusal`` or ``failure``.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._image: OpenImage | None = None

    def answer(self, job: Job, source: BinaryIO, target: BinaryIO) -> None:
        """Carry out a job about one file, write to another, and close both when it is time."""
        try:
            self._carry_out(job, source, target)
        except ImagingError as error:
            self._send({"refusal": str(error)[:_MAX_REASON]})
        except Exception as error:
            # The text could be about the patient, and goes into the log.
            self._send({"failure": type(error).__name__})
        else:
            self._send({"done": True})
        with suppress(OSError):  # what could not be written was an answer already
            target.close()

    def close(self) -> None:
        """Close the file of the last job: it may have been deleted."""
        if self._image is not None:
            self._image.close()
            self._image = None

    def _carry_out(self, job: Job, source: BinaryIO, target: BinaryIO) -> None:
        if isinstance(job, Transcoding):
            with source:
                transcode(source, job.transfer_syntax, target, self._progress)
            return
        pixels = self._pixels(source)
        pixels.check(job.number)
        pixels.check(job.last)
        target.write(_frame(pixels, job))
        target.flush()

    def _progress(self) -> None:
        self._send({"progress": True})

    def _pixels(self, source: BinaryIO) -> DecodableImage:
        status = os.fstat(source.fileno())
        identity = (status.st_dev, status.st_ino)
        if self._image is not None and self._image.identity == identity:
            source.close()
            return self._image.pixels
        self.close()
        try:
            self._image = OpenImage(identity, source, open_decodable(source))
        except BaseException:
            source.close()
            raise
        return self._image.pixels


def _frame(pixels: DecodableImage, job: FrameConversion | Rendering) -> bytes:
    try:
        return _rendered(pixels, job) if isinstance(job, Rendering) else _converted(pixels, job)
    except ImagingError:
        raise
    except Exception as error:
        # Pillow raises all kinds of errors about images that a format has no room for.
        raise ImagingError(f"the image cannot be encoded{reason_of(error)}") from error


def _converted(pixels: DecodableImage, job: FrameConversion) -> bytes:
    if job.transfer_syntax == DEFAULT and not pixels.is_encapsulated:
        return pixels.read(job.number)
    raster = decode(pixels, job.number)
    if job.transfer_syntax is None:
        return to_png(raster, pixels.header)
    if job.transfer_syntax == DEFAULT:
        return raster.to_bytes()
    return compress(raster, job.transfer_syntax)


def _rendered(pixels: DecodableImage, job: Rendering) -> bytes:
    raster = decode(pixels, job.number)
    if job.viewport and (
        raster.pixels.nbytes > MAX_VIEWPORT_SIZE or max(raster.pixels.shape[:2]) > MAX_SIDE
    ):
        raise ViewportError("the image is too large for a viewport")
    image = render(raster, pixels.header, job.number)
    if job.viewport:
        image = job.viewport.show(image)
    buffer = io.BytesIO()
    image.save(buffer, job.media_type.removeprefix("image/"), quality=JPEG_QUALITY)
    return buffer.getvalue()


def main() -> None:
    """Run until standard input, which is a socket, is closed at its other end."""
    import resource  # POSIX alone hands open files to processes: there is none elsewhere

    # What would be on disk after a crash are images of patients.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    with Path(os.devnull).open("wb") as nothing:
        # Codecs and pydicom say there what is wrong with an image, its values included.
        os.dup2(nothing.fileno(), 2)
    with socket.socket(fileno=0) as connection, suppress(ConnectionError):
        ImagingProcess(connection).run()


if __name__ == "__main__":
    main()
