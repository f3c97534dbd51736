"""WADO-RS rendered: instances and frames as JPEG or PNG (DICOM PS3.18 section 10.4.1.1.3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from starlette.responses import Response

from orthanc_gcp.emulator.dicom.imaging_jobs import Rendering
from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.dicom.transfer_syntaxes import can_decode
from orthanc_gcp.emulator.dicom.viewports import Viewport
from orthanc_gcp.emulator.dicomweb.frames import frame_numbers, refusals
from orthanc_gcp.emulator.dicomweb.multipart_response import Part, multipart_response
from orthanc_gcp.emulator.dicomweb.search_parameters import STANDARD_PARAMETERS
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.media_types import MediaType
from orthanc_gcp.emulator.http.negotiation import JPEG, PNG, accepted_types, not_acceptable
from orthanc_gcp.emulator.http.responses import Refusal, text_error
from orthanc_gcp.emulator.http.streaming import MULTIPART

__all__ = ["Renderer", "retrieve_rendered"]


@dataclass(frozen=True)
class RenderedFormat:
    """How rendered images are sent: as which media type, and whether as parts."""

    media_type: str
    multipart: bool


@dataclass(frozen=True)
class Renderer:
    """Has the frames of an instance rendered, one at a time."""

    imaging: ImagingPool
    file: BinaryIO
    media_type: str
    viewport: Viewport | None

    async def render(self, number: int, last: int) -> bytes:
        """Return a frame, rendered and encoded, if there is one of the last number, too.

        Raises :class:`ImagingError` and :class:`ImagingProcessError`.
        """
        job = Rendering(number, last, self.media_type, self.viewport)
        with await self.imaging.carry_out(job, self.file.fileno()) as made:
            return made.read()


async def retrieve_rendered(context: RequestContext) -> Response:
    """Handle ``GET …/instances/{instance}/rendered`` and ``GET …/frames/{frames}/rendered``.

    Raises :class:`Refusal` when there is no such instance (403 or 404), frame, parameter or
    viewport (400) or acceptable media type (406), or when the first frame cannot be rendered (400).
    """
    instance, file = await asyncio.to_thread(context.open_instance)
    with ExitStack() as opened, refusals():
        opened.enter_context(file)
        viewport = _viewport(context)
        # Of an instance as a whole, the first frame is shown.
        numbers = frame_numbers(context.names.get("frames", "1"))
        chosen = _choose(context, len(numbers))
        if not can_decode(instance.transfer_syntax):
            text = f"an image in transfer syntax {instance.transfer_syntax} cannot be rendered"
            raise Refusal(text_error(400, text))
        renderer = Renderer(context.imaging, file, chosen.media_type, viewport)
        first = await renderer.render(numbers[0], max(numbers))
        if not chosen.multipart:
            return Response(first, media_type=chosen.media_type)
        opened.pop_all()
    return multipart_response(chosen.media_type, _parts(renderer, numbers, first))


def _viewport(context: RequestContext) -> Viewport | None:
    query = context.request.query_params
    unknown = sorted(set(query) - STANDARD_PARAMETERS - {"viewport"})
    if unknown:
        raise Refusal(text_error(400, f"unsupported parameter: {unknown[0]}"))
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
    last = max(numbers)
    with renderer.file:
        for position, number in enumerate(numbers):
            image = await renderer.render(number, last) if position else first
            yield Part(renderer.media_type, image)
