"""Whether the emulator answers, for whatever starts it and waits."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.http.responses import NEVER_CACHED, Refusal, json_answer, page_not_found

__all__ = ["HealthCheck"]


class HealthCheck:
    """Says that requests are answered; whoever can reach the port may know.

    A call raises :class:`Refusal`: 404 for other methods than GET and HEAD.
    """

    PATH = "/healthz"

    async def __call__(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise Refusal(page_not_found())
        return json_answer({"status": "ok"}, headers=NEVER_CACHED)
