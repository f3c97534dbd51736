"""WADO-RS frames: pixels, decoded or as they are stored (DICOM PS3.18 section 10.4).

What may be asked for is the table of the DICOM conformance statement of the Healthcare API; the
compressed types are there for images that are stored in them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from starlette.responses import Response

from orthanc_gcp.emulator.calls import Call
from orthanc_gcp.emulator.dicom_reader import DEFLATED, EXPLICIT_BIG
from orthanc_gcp.emulator.media_types import MediaType
from orthanc_gcp.emulator.negotiation import OCTETS, accepted_types, not_acceptable
from orthanc_gcp.emulator.pixel_data import Extent, PixelData, PixelDataError
from orthanc_gcp.emulator.responses import Refusal, text_error
from orthanc_gcp.emulator.streaming import MULTIPART, Streamed, file_blocks, part_head
from orthanc_gcp.emulator.transcoding import TranscodingError, transcode
from orthanc_gcp.emulator.transfer_syntaxes import (
    AS_STORED,
    DEFAULT,
    FRAME_TYPES,
    can_convert,
)

__all__ = ["retrieve_frames"]


@dataclass(frozen=True)
class FrameFormat:
    """How frames are sent."""

    media_type: str
    transfer_syntax: str

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


async def retrieve_frames(call: Call) -> Response:
    """Handle ``GET …/instances/{instance}/frames/{frames}``."""
    (instance,) = await asyncio.to_thread(call.instances)
    chosen = _choose(call, instance.transfer_syntax)
    numbers = _numbers(call.names["frames"])
    decode = chosen.transfer_syntax != instance.transfer_syntax
    file = await asyncio.to_thread(call.open_instance)
    try:
        pixels = await asyncio.to_thread(_open, file, instance.transfer_syntax, decode=decode)
        frames = Frames(pixels, decode)
        for number in numbers:
            pixels.check(number)
        # The first frame is found, and decoded, while a refusal is still possible.
        first = await asyncio.to_thread(frames.find, numbers[0])
    except (PixelDataError, TranscodingError) as error:
        file.close()
        raise Refusal(text_error(400, str(error))) from error
    boundary = secrets.token_hex(16)
    body = _parts(frames, numbers, first, boundary, chosen.content_type)
    return Streamed(body, f'{MULTIPART}; type="{chosen.media_type}"; boundary={boundary}')


def _choose(call: Call, stored: str) -> FrameFormat:
    for accepted in accepted_types(call.request):
        found = _format(accepted, stored)
        if found is not None:
            return found
    octets = (
        f'{MULTIPART}; type="{OCTETS}"; transfer-syntax={syntax}' for syntax in (AS_STORED, DEFAULT)
    )
    compressed = (
        f'{MULTIPART}; type="{media_type}"; transfer-syntax={syntax}'
        for syntax, media_type in FRAME_TYPES.items()
    )
    raise not_acceptable(call.request, (*octets, *compressed))


def _format(accepted: MediaType, stored: str) -> FrameFormat | None:
    if not accepted.covers(MULTIPART):
        return None
    kind = MediaType(accepted.parameters.get("type", OCTETS).lower())
    wanted = accepted.parameters.get("transfer-syntax")
    if kind.covers(OCTETS):
        if wanted == AS_STORED:
            # The frames of a deflated data set have no bytes of their own in the file.
            return FrameFormat(OCTETS, DEFAULT if stored == DEFLATED else stored)
        if wanted in (None, DEFAULT) and can_convert([stored], DEFAULT):
            return FrameFormat(OCTETS, DEFAULT)
    compressed = FRAME_TYPES.get(stored)
    if compressed and kind.covers(compressed) and wanted in (None, AS_STORED, stored):
        return FrameFormat(compressed, stored)
    return None


def _numbers(text: str) -> list[int]:
    numbers = []
    for piece in text.split(","):
        if not (piece.isascii() and piece.isdigit()) or len(piece) > 10:
            raise Refusal(text_error(400, f"Invalid frame number: {piece}"))
        numbers.append(int(piece))
    return numbers


def _open(file: BinaryIO, stored: str, *, decode: bool) -> PixelData:
    if decode and stored in (DEFLATED, EXPLICIT_BIG):
        with file:
            return PixelData(transcode(file.fileno(), DEFAULT))
    return PixelData(file)


@dataclass(frozen=True)
class Frames:
    """Frames in the way that was asked for."""

    pixels: PixelData
    decode: bool

    def find(self, number: int) -> bytes | Extent:
        """Return a frame that had to be put together, or where it lies in the file."""
        if self.decode and self.pixels.is_encapsulated:
            return self.pixels.decode(number)
        return self.pixels.extent(number) or self.pixels.read(number)


async def _parts(
    frames: Frames,
    numbers: Sequence[int],
    first: bytes | Extent,
    boundary: str,
    content_type: str,
) -> AsyncGenerator[bytes, None]:
    try:
        for position, number in enumerate(numbers):
            frame = await asyncio.to_thread(frames.find, number) if position else first
            yield part_head(boundary, content_type)
            if isinstance(frame, bytes):
                yield frame
            else:
                async for block in file_blocks(frames.pixels.descriptor, *frame):
                    yield block
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()
    finally:
        frames.pixels.close()
