"""Answers that list data sets: a JSON array, or parts that are XML (DICOM PS3.18 section 8.7.3)."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from orthanc_gcp.emulator.dicom.dicom_xml import to_xml
from orthanc_gcp.emulator.http.media_types import MediaType
from orthanc_gcp.emulator.http.negotiation import JSON, XML, accepted_types, not_acceptable
from orthanc_gcp.emulator.http.streaming import MULTIPART, part_head

__all__ = ["Listing", "choose_listing"]


@dataclass(frozen=True)
class Listing:
    """How data sets are written, and what stands before, between and after them."""

    media_type: str
    encode: Callable[[dict[str, Any]], bytes]
    start: bytes
    before_each: bytes
    between: bytes
    end: bytes

    def join(self, encoded: Iterable[bytes]) -> bytes:
        """Return an answer, given its data sets."""
        return self.start + self.between.join(self.before_each + e for e in encoded) + self.end

    async def stream(self, encoded: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield an answer while its data sets come, the heads of parts apart from them."""
        separator, is_empty = self.start, True
        async for data_set in encoded:
            if self.before_each:
                yield separator + self.before_each
                yield data_set
            else:
                yield separator + data_set
            separator, is_empty = self.between, False
        yield self.start + self.end if is_empty else self.end


def choose_listing(request: Request) -> Listing:
    """Return what a client takes: JSON, for which ``application/json`` stands too, or XML.

    Raises :class:`Refusal` (406) when it takes neither.
    """
    for accepted in accepted_types(request):
        if accepted.covers(JSON) or accepted.covers("application/json"):
            return Listing(JSON, _to_json, b"[", b"", b",", b"]")
        kind = MediaType(accepted.parameters.get("type", XML).lower())
        if accepted.covers(MULTIPART) and kind.covers(XML):
            return _xml_parts(secrets.token_hex(16))
    raise not_acceptable(request, (JSON, f'{MULTIPART}; type="{XML}"'))


def _to_json(data_set: dict[str, Any]) -> bytes:
    return json.dumps(data_set, separators=(",", ":")).encode()


def _xml_parts(boundary: str) -> Listing:
    media_type = f'{MULTIPART}; type="{XML}"; boundary={boundary}'
    end = f"\r\n--{boundary}--\r\n".encode()
    return Listing(media_type, to_xml, b"", part_head(boundary, XML), b"\r\n", end)
