"""WADO-RS: instances and metadata leave while they are read (DICOM PS3.18 section 10.4)."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from starlette.responses import Response

from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter
from orthanc_gcp.emulator.dicom.imaging_jobs import Transcoding
from orthanc_gcp.emulator.dicom.listing import Listing, choose_listing
from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    PIXEL_DATA,
    DicomFile,
    FileSource,
    InvalidDicomError,
)
from orthanc_gcp.emulator.dicom.transfer_syntaxes import AS_STORED, DEFAULT, KNOWN, can_convert
from orthanc_gcp.emulator.dicomweb.frames import refusals
from orthanc_gcp.emulator.dicomweb.multipart_response import Part, multipart_response
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.media_types import MediaType
from orthanc_gcp.emulator.http.negotiation import DICOM, accepted_types, not_acceptable
from orthanc_gcp.emulator.http.responses import Refusal
from orthanc_gcp.emulator.http.streaming import MULTIPART, Streamed, file_blocks
from orthanc_gcp.emulator.storage.instances import StoredInstance

__all__ = ["retrieve", "retrieve_instance", "retrieve_metadata"]


_SMALL = 64 * 1024
"""How many bytes an instance has at most that is read as fast as handed to a thread: a deflated one
may become a thousand times as long."""


@dataclass(frozen=True)
class Representation:
    """How instances are sent: in which transfer syntax, and whether as parts."""

    transfer_syntax: str
    multipart: bool


async def retrieve(context: RequestContext) -> Response:
    """Handle ``GET …/studies/{study}`` and ``GET …/series/{series}``.

    Raises :class:`Refusal` when there is nothing of that name (403 or 404), no acceptable media
    type (406), or when the first instance cannot be transcoded (400).
    """
    return await _retrieve(context, single=False)


async def retrieve_instance(context: RequestContext) -> Response:
    """Handle ``GET …/instances/{instance}``, which may be had without multipart.

    Raises as :func:`retrieve` does.
    """
    return await _retrieve(context, single=True)


async def retrieve_metadata(context: RequestContext) -> Response:
    """Handle ``GET …/metadata`` of a study, a series or an instance.

    Raises :class:`Refusal` when there is nothing of that name (403 or 404), or no acceptable media
    type (406).
    """
    instances = await context.find_instances()
    listing = choose_listing(context.request)
    entries = _metadata(context, instances, listing)
    return Streamed(listing.stream(entries), listing.media_type)


async def _retrieve(context: RequestContext, *, single: bool) -> Response:
    instances = await context.find_instances()
    chosen = Representations(context, single=single)
    # To hand one instance to a thread would cost more than to look at it, unless it is inflated.
    if single and instances[0].transfer_syntax != DEFLATED:
        chosen.choose(instances)
    else:
        await asyncio.to_thread(chosen.choose, instances)
    # The first file is opened, and transcoded, while a refusal is still possible.
    for number, instance in enumerate(instances, 1):
        try:
            with refusals():
                first = await _open(context, instance, chosen)
        except FileNotFoundError:
            continue  # deleted since the request came
        if not first.multipart:
            headers = {"Content-Length": str(first.size)}
            return Streamed(first.blocks(), first.content_type, headers)
        return multipart_response(DICOM, _parts(context, first, instances[number:], chosen))
    raise context.missing_path()


class Representations:
    """How instances are sent, by the transfer syntaxes that they are stored in.

    Methods raise :class:`Refusal` (406) where there is no acceptable way.
    """

    def __init__(self, context: RequestContext, *, single: bool) -> None:
        self._context = context
        self._single = single
        self._known: dict[str, Representation] = {}

    def choose(self, instances: Sequence[StoredInstance]) -> None:
        """Decide for all of these instances."""
        for stored in {instance.transfer_syntax for instance in instances}:
            group = [each for each in instances if each.transfer_syntax == stored]
            self._known[stored] = self._chosen(stored, group)

    def of(self, instance: StoredInstance) -> Representation:
        """Return how an instance is sent, also one that has replaced another since."""
        if instance.transfer_syntax not in self._known:
            self.choose([instance])
        return self._known[instance.transfer_syntax]

    def _chosen(self, stored: str, group: Sequence[StoredInstance]) -> Representation:
        context, single = self._context, self._single
        found = _choose(context, stored, single=single)
        if found is None and not any(_has_pixels(context, instance) for instance in group):
            # In what is no image, there is nothing to be compressed.
            found = _choose(context, stored, single=single, is_image=False)
        if found is None:
            raise _refusal(context, single=single)
        return found


def _has_pixels(context: RequestContext, instance: StoredInstance) -> bool:
    try:
        _, descriptor = context.open_current(instance)
    except FileNotFoundError:
        return False  # deleted since the request came
    try:
        elements = DicomFile(FileSource(descriptor)).elements()
        return any(element.tag in PIXEL_DATA for element in elements)
    except (InvalidDicomError, struct.error):
        return True  # a store takes pixel data that are cut off
    finally:
        os.close(descriptor)


def _choose(
    context: RequestContext, stored: str, *, single: bool, is_image: bool = True
) -> Representation | None:
    """Return the most wanted representation of an instance; of several, the stored one."""
    found = []
    for accepted in accepted_types(context.request):
        syntax = accepted.parameters.get("transfer-syntax", DEFAULT)
        is_multipart = _is_multipart(accepted, single=single)
        if syntax not in KNOWN or is_multipart is None:
            continue
        if not can_convert([stored], syntax):
            if is_image:
                continue
            syntax = DEFAULT
        made = Representation(stored if syntax == AS_STORED else syntax, is_multipart)
        found.append((accepted.quality, made.transfer_syntax == stored, made))
    return max(found, key=lambda each: each[:2])[2] if found else None


def _is_multipart(accepted: MediaType, *, single: bool) -> bool | None:
    """Return whether a media type is of instances as parts, or of a single one, or of neither."""
    if accepted.covers(MULTIPART) and accepted.parameters.get("type", DICOM).lower() == DICOM:
        return True
    return False if single and accepted.covers(DICOM) else None


def _refusal(context: RequestContext, *, single: bool) -> Refusal:
    offers = [f'{MULTIPART}; type="{DICOM}"', DICOM] if single else [f'{MULTIPART}; type="{DICOM}"']
    return not_acceptable(
        context.request,
        (f"{offer}; transfer-syntax={syntax}" for offer in offers for syntax in sorted(KNOWN)),
    )


@dataclass
class OpenInstance:
    """An instance ready to be sent, alone or as a part."""

    descriptor: int
    size: int
    transfer_syntax: str
    multipart: bool

    @property
    def content_type(self) -> str:
        return f"{DICOM}; transfer-syntax={self.transfer_syntax}"

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Yield the file; close it at the end."""
        try:
            async for block in file_blocks(self.descriptor, 0, self.size):
                yield block
        finally:
            os.close(self.descriptor)


async def _open(
    context: RequestContext, instance: StoredInstance, chosen: Representations
) -> OpenInstance:
    """Open an instance as it was chosen for its transfer syntax.

    Raises :class:`ImagingError`, :class:`ImagingProcessError`, :class:`FileNotFoundError` when it
    was deleted, and :class:`Refusal` (406) when what has replaced it since cannot be sent.
    """
    instance, descriptor = context.open_current(instance)
    with ExitStack() as opened:
        opened.callback(os.close, descriptor)
        representation = chosen.of(instance)
        wanted, multipart = representation.transfer_syntax, representation.multipart
        if wanted == instance.transfer_syntax:
            opened.pop_all()
            return OpenInstance(descriptor, instance.size, wanted, multipart)
        with await context.imaging.carry_out(Transcoding(wanted), descriptor) as made:
            copy = os.dup(made.fileno())
    # What is no image cannot be in every transfer syntax.
    syntax = (await asyncio.to_thread(DicomFile, FileSource(copy))).transfer_syntax
    return OpenInstance(copy, os.fstat(copy).st_size, syntax, multipart)


async def _parts(
    context: RequestContext,
    first: OpenInstance,
    others: Sequence[StoredInstance],
    chosen: Representations,
) -> AsyncGenerator[Part, None]:
    yield Part(first.content_type, first.blocks())
    for instance in others:
        await context.wait_for_instances(1)
        await asyncio.sleep(0)  # others have their turn, also while the client takes all at once
        try:
            opened = await _open(context, instance, chosen)
        except FileNotFoundError:
            continue  # deleted since the answer began
        yield Part(opened.content_type, opened.blocks())


async def _metadata(
    context: RequestContext, instances: Sequence[StoredInstance], listing: Listing
) -> AsyncGenerator[bytes, None]:
    for instance in instances:
        try:
            if instance.size > _SMALL or instance.transfer_syntax == DEFLATED:
                yield await asyncio.to_thread(_instance_metadata, context, instance, listing)
            else:
                await asyncio.sleep(0)
                yield _instance_metadata(context, instance, listing)
        except FileNotFoundError:
            continue  # deleted since the answer began


def _instance_metadata(
    context: RequestContext, instance: StoredInstance, listing: Listing
) -> bytes:
    instance, descriptor = context.open_current(instance)
    try:
        writer = JsonWriter(f"{context.instance_url(instance.key)}/bulkdata/".__add__)
        return listing.encode(writer.file(DicomFile(FileSource(descriptor))))
    finally:
        os.close(descriptor)
