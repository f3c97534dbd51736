"""Request bodies that have to be small."""

from __future__ import annotations

from starlette.requests import Request

from orthanc_gcp.emulator.responses import Refusal, error

__all__ = ["MAX_CONTROL_BODY", "read_limited"]

MAX_CONTROL_BODY = 10 * 1024 * 1024
"""What any method but STOW takes (Healthcare API, quotas and limits)."""


async def read_limited(request: Request, limit: int) -> bytes:
    """Return the body, or refuse it once it proves longer than ``limit``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refusal(error(400, f"Request payload size exceeds the limit: {limit} bytes."))
    return bytes(body)
