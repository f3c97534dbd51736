"""WADO-RS rendered: instances and frames as JPEG or PNG (DICOM PS3.18 section 10.4.1.1.3)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from starlette.responses import Response

from orthanc_gcp.emulator.dicom.pixel_data import PixelData
from orthanc_gcp.emulator.dicom.rendering import render
from orthanc_gcp.emulator.dicom.transcoding import open_decodable
from orthanc_gcp.emulator.dicom.transfer_syntaxes import can_decode
from orthanc_gcp.emulator.dicom.viewports import MAX_SIDE, Viewport, ViewportError
from orthanc_gcp.emulator.dicomweb.frames import frame_numbers, refusals
from orthanc_gcp.emulator.dicomweb.multipart_response import Part, multipart_response
from orthanc_gcp.emulator.dicomweb.search_parameters import STANDARD_PARAMETERS
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.media_types import MediaType
from orthanc_gcp.emulator.http.negotiation import JPEG, PNG, accepted_types, not_acceptable
from orthanc_gcp.emulator.http.responses import Refusal, text_error
from orthanc_gcp.emulator.http.streaming import MULTIPART

__all__ = ["Renderer", "retrieve_rendered"]

JPEG_QUALITY = 90
MAX_SIZE = 50_000_000
"""Larger frames do not get a viewport (Healthcare API, quotas and limits)."""


@dataclass(frozen=True)
class RenderedFormat:
    """How rendered images are sent: as which media type, and whether as parts."""

    media_type: str
    multipart: bool


@dataclass(frozen=True)
class Renderer:
    """Renders the frames of an instance, one at a time."""

    pixels: PixelData
    media_type: str
    viewport: Viewport | None

    def render(self, number: int) -> bytes:
        """Return a frame, rendered and encoded.

        Raises :class:`ImagingError`, as :class:`ViewportError` for an image that is too large.
        """
        raster = self.pixels.decode(number)
        if self.viewport and (
            raster.pixels.nbytes > MAX_SIZE or max(raster.pixels.shape[:2]) > MAX_SIDE
        ):
            raise ViewportError("the image is too large for a viewport")
        image = render(raster, self.pixels.header, number)
        if self.viewport:
            image = self.viewport.show(image)
        buffer = io.BytesIO()
        image.save(buffer, self.media_type.removeprefix("image/"), quality=JPEG_QUALITY)
        return buffer.getvalue()


async def retrieve_rendered(context: RequestContext) -> Response:
    """Handle ``GET …/instances/{instance}/rendered`` and ``GET …/frames/{frames}/rendered``.

    Raises :class:`Refusal` when there is no such instance (403 or 404), frame, parameter or
    viewport (400) or acceptable media type (406), or when the first frame cannot be rendered (400).
    """
    (instance,) = await asyncio.to_thread(context.instances)
    viewport = _viewport(context)
    # Of an instance as a whole, the first frame is shown.
    numbers = frame_numbers(context.names.get("frames", "1"))
    chosen = _choose(context, len(numbers))
    if not can_decode(instance.transfer_syntax):
        text = f"an image in transfer syntax {instance.transfer_syntax} cannot be rendered"
        raise Refusal(text_error(400, text))
    with ExitStack() as opened, refusals():
        file = opened.enter_context(await asyncio.to_thread(context.open_instance))
        pixels = await asyncio.to_thread(open_decodable, file, instance.transfer_syntax)
        opened.callback(pixels.close)
        for number in numbers:
            pixels.check(number)
        renderer = Renderer(pixels, chosen.media_type, viewport)
        first = await asyncio.to_thread(renderer.render, numbers[0])
        if not chosen.multipart:
            return Response(first, media_type=chosen.media_type)
        opened.pop_all()
    return multipart_response(chosen.media_type, _parts(renderer, numbers, first))


def _viewport(context: RequestContext) -> Viewport | None:
    query = context.request.query_params
    unknown = sorted(set(query) - STANDARD_PARAMETERS - {"viewport"})
    if unknown:
        raise Refusal(text_error(400, f"unsupported parameter: {unknown[0]}"))
    with refusals():
        return Viewport.parse(query["viewport"]) if "viewport" in query else None


def _choose(context: RequestContext, count: int) -> RenderedFormat:
    """Return the format that is asked for; several images are parts."""
    for accepted in accepted_types(context.request):
        for media_type in (JPEG, PNG):
            if count == 1 and accepted.covers(media_type):
                return RenderedFormat(media_type, multipart=False)
        kind = MediaType(accepted.parameters.get("type", JPEG).lower())
        for media_type in (JPEG, PNG):
            if accepted.covers(MULTIPART) and kind.covers(media_type):
                return RenderedFormat(media_type, multipart=True)
    single = (JPEG, PNG) if count == 1 else ()
    parts = (f'{MULTIPART}; type="{media_type}"' for media_type in (JPEG, PNG))
    raise not_acceptable(context.request, (*single, *parts))


async def _parts(
    renderer: Renderer, numbers: Sequence[int], first: bytes
) -> AsyncGenerator[Part, None]:
    try:
        for position, number in enumerate(numbers):
            image = await asyncio.to_thread(renderer.render, number) if position else first
            yield Part(renderer.media_type, image)
    finally:
        renderer.pixels.close()
