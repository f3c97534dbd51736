"""What a gateway answers the plugin that has started it: that it runs, and its status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orthanc_gcp.gateway.for_orthanc.service import ForOrthanc
from orthanc_gcp.worker.gateway.for_orthanc_api import routes_for_orthanc
from orthanc_gcp.worker.listener import Guarded

__all__ = ["application"]


def application(
    status: Callable[[], dict[str, Any]], secret: str, for_orthanc: ForOrthanc | None = None
) -> ASGIApp:
    """The API for those who know the secret: ``/health``, and ``/gcp/gateway``.

    Parameters
    ----------
    status
        Gives the status, as JSON has it.
    for_orthanc
        What answers Orthanc's own DICOM server; None where that answers by itself.
    """

    async def healthy(_request: Request) -> Response:
        return JSONResponse({})

    def shown(_request: Request) -> Response:  # on a thread: it may ask the ledger
        return JSONResponse(status())

    routes = [
        Route("/health", healthy, methods=["GET"]),
        Route("/gcp/gateway", shown, methods=["GET"]),
    ]
    if for_orthanc is not None:
        routes += routes_for_orthanc(for_orthanc)
    return Guarded(Starlette(routes=routes), secret)
