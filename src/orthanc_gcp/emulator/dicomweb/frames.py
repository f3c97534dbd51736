"""WADO-RS frames: pixels, decoded or as they are stored (DICOM PS3.18 section 10.4).

What may be asked for is the table of the DICOM conformance statement of the Healthcare API; the
compressed types are there for images that are stored in them, and for those that can be compressed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from starlette.responses import Response

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.imaging_jobs import FrameConversion
from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.dicom.pixel_data import INVALID_NUMBER, Extent, PixelData
from orthanc_gcp.emulator.dicom.reader import DEFLATED
from orthanc_gcp.emulator.dicom.transfer_syntaxes import (
    AS_STORED,
    DEFAULT,
    ENCODABLE,
    FRAME_TYPES,
    NATIVE,
    can_decode,
    needs_no_codec,
)
from orthanc_gcp.emulator.dicomweb.multipart_response import Part, multipart_response
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.media_types import MediaType
from orthanc_gcp.emulator.http.negotiation import (
    OCTETS,
    PNG,
    accepted_types,
    not_acceptable,
    takes_gzip,
)
from orthanc_gcp.emulator.http.responses import Refusal, text_error
from orthanc_gcp.emulator.http.streaming import MULTIPART, file_blocks

__all__ = ["frame_numbers", "refusals", "retrieve_frames"]


@dataclass(frozen=True)
class FrameFormat:
    """How frames are sent; PNG has no transfer syntax."""

    media_type: str
    transfer_syntax: str | None

    @property
    def content_type(self) -> str:
        if self.transfer_syntax is None:
            return self.media_type
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"

    def lies_in_file(self, stored: str) -> bool:
        """Return whether frames that are stored in a transfer syntax are so already."""
        return self.transfer_syntax is not None and needs_no_codec(stored, self.transfer_syntax)


async def retrieve_frames(context: RequestContext) -> Response:
    """Handle ``GET …/instances/{instance}/frames/{frames}``.

    Raises :class:`Refusal` when there is no such instance (403 or 404), frame (400) or acceptable
    media type (406), or when the first frame cannot be made into it (400).
    """
    instance, file = await asyncio.to_thread(context.open_instance)
    with ExitStack() as opened, refusals():
        opened.enter_context(file)
        chosen = _choose(context, instance.transfer_syntax)
        numbers = frame_numbers(context.names["frames"])
        frames: Frames = ConvertedFrames(context.imaging, file, chosen.transfer_syntax)
        if chosen.lies_in_file(instance.transfer_syntax):
            frames = StoredFrames(await asyncio.to_thread(PixelData, file))
        # The first frame is found, and decoded, while a refusal is still possible.
        first = await frames.find(numbers[0], max(numbers))
        opened.pop_all()
    parts = _parts(frames, file, numbers, first, chosen.content_type)
    response = multipart_response(chosen.media_type, parts)
    if chosen.transfer_syntax in NATIVE and takes_gzip(context.request):
        response.compress()
    return response


def _choose(context: RequestContext, stored: str) -> FrameFormat:
    """Return the most wanted format; of those equally wanted, one in which the frames lie."""
    found = [
        (accepted.quality, chosen)
        for accepted in accepted_types(context.request)
        if (chosen := _format(accepted, stored)) is not None
    ]
    if found:
        return max(found, key=lambda pair: (pair[0], pair[1].lies_in_file(stored)))[1]
    octets = (
        f'{MULTIPART}; type="{OCTETS}"; transfer-syntax={syntax}' for syntax in (AS_STORED, DEFAULT)
    )
    compressed = (
        f'{MULTIPART}; type="{media_type}"; transfer-syntax={syntax}'
        for syntax, media_type in FRAME_TYPES.items()
    )
    raise not_acceptable(context.request, (*octets, *compressed, f'{MULTIPART}; type="{PNG}"'))


def _format(accepted: MediaType, stored: str) -> FrameFormat | None:
    if not accepted.covers(MULTIPART):
        return None
    kind = MediaType(accepted.parameters.get("type", OCTETS).lower())
    wanted = accepted.parameters.get("transfer-syntax")
    if kind.covers(OCTETS):
        if wanted == AS_STORED:
            # The frames of a deflated data set have no bytes of their own in the file.
            return FrameFormat(OCTETS, DEFAULT if stored == DEFLATED else stored)
        if wanted in (None, DEFAULT) and can_decode(stored):
            return FrameFormat(OCTETS, DEFAULT)
    compressed = FRAME_TYPES.get(stored)
    if compressed and kind.covers(compressed) and wanted in (None, AS_STORED, stored):
        return FrameFormat(compressed, stored)
    return _made(kind, wanted) if can_decode(stored) else None


def _made(kind: MediaType, wanted: str | None) -> FrameFormat | None:
    """Return what a frame can be made into."""
    if kind.covers(PNG) and wanted is None:
        return FrameFormat(PNG, None)
    for syntax in ENCODABLE:
        if kind.covers(FRAME_TYPES[syntax]) and wanted in (None, syntax):
            return FrameFormat(FRAME_TYPES[syntax], syntax)
    return None


@contextmanager
def refusals() -> Iterator[None]:
    """Turn an :class:`ImagingError` of the block into the :class:`Refusal` of the request (400)."""
    try:
        yield
    except ImagingError as error:
        raise Refusal(text_error(400, str(error))) from error


def frame_numbers(text: str) -> list[int]:
    """Return the numbers of a path, from 1; raise :class:`Refusal` (400) when one is none."""
    numbers = []
    for piece in text.split(","):
        if not (piece.isascii() and piece.isdigit()) or len(piece) > 10 or not int(piece):
            raise Refusal(text_error(400, INVALID_NUMBER))
        numbers.append(int(piece))
    return numbers


FoundFrame = bytes | Extent | BinaryIO
"""A frame, where it lies in the file of the instance, or a file that has nothing else."""


class Frames(Protocol):
    """Where the frames of an answer come from."""

    async def find(self, number: int, last: int) -> FoundFrame:
        """Return a frame, if there is one of the last number, too.

        Raises :class:`ImagingError` and :class:`ImagingProcessError`.
        """


@dataclass(frozen=True)
class StoredFrames:
    """Frames as they lie in a file."""

    pixels: PixelData

    async def find(self, number: int, last: int) -> FoundFrame:
        self.pixels.check(last)
        extent = self.pixels.extent(number)
        if extent is None:
            return await asyncio.to_thread(self.pixels.read, number)
        return extent


@dataclass(frozen=True)
class ConvertedFrames:
    """Frames in another transfer syntax, or as PNG (None)."""

    imaging: ImagingPool
    file: BinaryIO
    transfer_syntax: str | None

    async def find(self, number: int, last: int) -> FoundFrame:
        job = FrameConversion(number, last, self.transfer_syntax)
        return await self.imaging.carry_out(job, self.file.fileno())


async def _parts(
    frames: Frames,
    file: BinaryIO,
    numbers: Sequence[int],
    first: FoundFrame,
    content_type: str,
) -> AsyncGenerator[Part, None]:
    last = max(numbers)
    with file:
        for position, number in enumerate(numbers):
            frame = await frames.find(number, last) if position else first
            if isinstance(frame, bytes):
                yield Part(content_type, frame)
            elif isinstance(frame, tuple):
                yield Part(content_type, file_blocks(file.fileno(), *frame))
            else:
                with frame:
                    size = os.fstat(frame.fileno()).st_size
                    yield Part(content_type, file_blocks(frame.fileno(), 0, size))
