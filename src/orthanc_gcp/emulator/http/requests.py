"""What is taken from requests with care: small bodies, JSON, sizes of pages, the host's name.

Sources: AIP-158 (``pageSize``), AIP-134 (``updateMask``), RFC 9110 section 7.2 (``Host``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any

from starlette.requests import Request

from orthanc_gcp.emulator.http.responses import Refusal, error

__all__ = [
    "MAX_CONTROL_BODY",
    "MAX_REQUEST_SIZE",
    "field_mask",
    "origin",
    "page_size",
    "parse_json",
    "parse_object",
    "raw_path",
    "read_limited",
    "read_object",
    "skip_body",
]

DEFAULT_PAGE = 100
MAX_PAGE = 1000

MAX_CONTROL_BODY = 10 * 1024 * 1024
"""What any method but STOW takes (Healthcare API, quotas and limits)."""

MAX_BRACKETS = 600_000
"""How many arrays and objects a body has at most: DICOM JSON of 10 MB has half a million."""

MAX_REQUEST_SIZE = 64 * 1024
"""What a token endpoint takes."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


async def read_limited(request: Request, limit: int) -> bytes:
    """Return the body.

    Raises
    ------
    Refusal
        400, as soon as it proves longer than ``limit`` bytes.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refusal(error(400, f"Request payload size exceeds the limit: {limit} bytes."))
    return bytes(body)


async def skip_body(request: Request) -> None:
    """Read the body, however long it is, and drop it."""
    async for _ in request.stream():
        pass


def parse_json(body: bytes) -> Any:
    """Return what a body is in JSON.

    Raises
    ------
    ValueError
        It is none, or of more arrays and objects than metadata of its size have: each takes 20
        times the memory that its brackets do.
    RecursionError
        It is nested too deeply.
    """
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        raise ValueError("too many arrays and objects")
    return json.loads(body)


def parse_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, an empty one if that is empty, or nothing if it is none.

    Text that is none in Unicode, half of a surrogate pair, makes it none (RFC 8259 section 8.2).
    """
    try:
        value = parse_json(body or b"{}")
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request brings; without a body, an empty one.

    Raises
    ------
    Refusal
        400 for a body that is no object, or longer than 10 MiB.
    """
    body = await read_limited(request, MAX_CONTROL_BODY)
    is_large = len(body) > MAX_REQUEST_SIZE
    value = await asyncio.to_thread(parse_object, body) if is_large else parse_object(body)
    if value is None:
        raise Refusal(error(400, "Invalid JSON payload received."))
    return value


def field_mask(request: Request, changeable: Collection[str]) -> list[str]:
    """Return the fields that ``updateMask`` names.

    Raises
    ------
    Refusal
        400 when it names none, or one that is not ``changeable``.
    """
    mask = [field for field in request.query_params.get("updateMask", "").split(",") if field]
    unknown = [field for field in mask if field not in changeable]
    if unknown or not mask:
        raise Refusal(error(400, f"invalid update_mask: {','.join(unknown)!r}"))
    return mask


def page_size(request: Request) -> int:
    """Return how many resources a page of a list may have: ``pageSize``, 100 by default.

    Raises
    ------
    Refusal
        400 for what is no number, or below 0.
    """
    text = request.query_params.get("pageSize", "0")
    try:
        size = int(text)
    except ValueError:
        size = -1
    if size < 0:
        raise Refusal(error(400, f"invalid page_size: {text!r}"))
    return min(size, MAX_PAGE) or DEFAULT_PAGE


def raw_path(request: Request) -> str:
    """Return the path as the client wrote it, percent-encoded."""
    path: bytes = request.scope["raw_path"]
    return path.decode("latin-1")


def origin(request: Request) -> str:
    """Return scheme and host as the client wrote them, for addresses that it will follow."""
    address, port = request.scope["server"]
    host = request.headers.get("host") or (f"[{address}]" if ":" in address else address)
    own = (address, "localhost") if address in ("127.0.0.1", "::1") else (address,)
    own = (*own, f"[{address}]")
    if host in own and port != _DEFAULT_PORTS[request.scope["scheme"]]:
        # dicomweb-client leaves the port out of the header, and follows what it is given. Where
        # the name is another, somebody in between may well forward from the default port.
        host = f"{host}:{port}"
    return f"{request.scope['scheme']}://{host}"
