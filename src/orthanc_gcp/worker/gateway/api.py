"""What a gateway answers the plugin that has started it: that it runs, and its status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orthanc_gcp.worker.listener import Guarded

__all__ = ["application"]


def application(status: Callable[[], dict[str, Any]], secret: str) -> ASGIApp:
    """The API for those who know the secret: ``/health``, and ``/gcp/gateway``.

    Parameters
    ----------
    status
        Gives the status, as JSON has it.
    """

    async def healthy(_request: Request) -> Response:
        return JSONResponse({})

    def shown(_request: Request) -> Response:  # on a thread: it may ask the ledger
        return JSONResponse(status())

    routes = [
        Route("/health", healthy, methods=["GET"]),
        Route("/gcp/gateway", shown, methods=["GET"]),
    ]
    return Guarded(Starlette(routes=routes), secret)
