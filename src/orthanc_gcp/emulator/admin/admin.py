"""What tests ask of the emulator over HTTP: its fault settings, and a fresh start."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.faults.fault_settings import FaultSettings, SettingError
from orthanc_gcp.emulator.http.requests import MAX_REQUEST_SIZE, read_limited
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer, page_not_found

__all__ = ["Admin", "Reset"]

logger = logging.getLogger(__name__)


class Admin:
    """Shows and sets the fault settings; there for tests, so it asks for no credential.

    A call raises :class:`Refusal`: 400 for settings that there are not or that cannot be so, 404
    for other methods than GET and PATCH.
    """

    PATH = "/emulator/state"

    def __init__(self, fault_settings: FaultSettings) -> None:
        self._fault_settings = fault_settings

    async def __call__(self, request: Request) -> Response:
        if request.method == "PATCH":
            self._change(await read_limited(request, MAX_REQUEST_SIZE))
        elif request.method != "GET":
            raise Refusal(page_not_found())
        return json_answer(self._fault_settings.as_json())

    def _change(self, body: bytes) -> None:
        try:
            changes = json.loads(body)
        except (ValueError, RecursionError):
            changes = None
        if not isinstance(changes, dict):
            raise Refusal(error(400, "a JSON object of fault settings is expected"))
        try:
            self._fault_settings.change(**changes)
        except SettingError as problem:
            raise Refusal(error(400, str(problem))) from problem


class Reset:
    """Brings the emulator back to its start, and answers when that is done.

    A call raises :class:`Refusal`: 404 for other methods than POST, 403 for a web page of another
    origin (RFC 6454 section 7; W3C Fetch Metadata), 400 for a body beyond 64 KiB, and 500 when
    something cannot be read or written.
    """

    PATH = "/emulator/reset"

    def __init__(self, reset: Callable[[], Awaitable[None]]) -> None:
        self._reset = reset

    async def __call__(self, request: Request) -> Response:
        if request.method != "POST":
            raise Refusal(page_not_found())
        if _is_from_another_origin(request):
            # A browser asks nobody before it sends such a request.
            raise Refusal(error(403, "a web page of another origin cannot reset the emulator"))
        await read_limited(request, MAX_REQUEST_SIZE)
        try:
            await self._reset()
        except OSError as problem:
            logger.exception("the reset failed")
            raise Refusal(error(500, f"the reset failed: {problem.strerror}")) from problem
        return json_answer({})


def _is_from_another_origin(request: Request) -> bool:
    """Return whether a web page sends a request that is not the emulator's own."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        # Right behind a proxy, too, which may have put another host in the place of the page's.
        return site not in ("same-origin", "none")
    page = request.headers.get("origin")
    return page is not None and page.partition("://")[2] != request.headers.get("host")
