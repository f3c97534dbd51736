"""The page at ``/``: what is stored, what was asked last, and the fault settings.

Everything on it but the way to turn it on takes ``--admin``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from orthanc_gcp.emulator.dicomweb.search_parameters import MAX_OFFSET
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.healthcare.request_context import Services
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer, page_not_found
from orthanc_gcp.emulator.resource_names import StoreName

__all__ = ["WebPage"]

STUDIES_AT_ONCE = 20
MAX_STORES = 100

_FOLDER = files("orthanc_gcp.emulator.admin") / "web"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FILES = {f"/emulator/page.{kind}": f"page.{kind}" for kind in ("css", "js", "svg")}
_OVERVIEW, _STORES, _STUDIES = "/emulator/overview", "/emulator/stores", "/emulator/studies"
_PATHS = {"/", *_FILES, _OVERVIEW, _STORES, _STUDIES}


class WebPage:
    """Serves the page, and with ``--admin`` what it shows.

    A call raises :class:`Refusal`: 404 for what there is not, 400 for an offset that cannot be.
    """

    def __init__(self, services: Services, *, admin: bool) -> None:
        self._services = services
        self._files = {"/": "page.html" if admin else "closed.html", **_FILES}
        self._views: dict[str, Callable[[Request], Any]] = {}
        if admin:
            self._views[_OVERVIEW] = self._overview
            self._views[_STORES] = self._stores
            self._views[_STUDIES] = self._studies

    @staticmethod
    def serves(scope: Scope) -> bool:
        """Return whether it is the page that a request is for, and not the metadata server."""
        if scope["path"] not in _PATHS:
            return False
        return all(name != b"metadata-flavor" for name, _ in scope["headers"])

    async def __call__(self, request: Request) -> Response:
        path = request.scope["path"]
        if request.method != "GET":
            raise Refusal(page_not_found())
        if path in self._files:
            return _file(self._files[path])
        if path not in self._views:
            raise Refusal(page_not_found())
        return json_answer(await asyncio.to_thread(self._views[path], request), headers=_HEADERS)

    def _overview(self, _request: Request) -> dict[str, Any]:
        return {
            "requests": self._services.recent.as_json(),
            "settings": self._services.fault_settings.as_json(),
            "harmless": FaultSettings().as_json(),
        }

    def _stores(self, _request: Request) -> dict[str, Any]:
        storage, stores = self._services.storage, []
        for row, name in storage.resources.all_stores(MAX_STORES):
            totals = storage.index.totals(row)
            stores.append({"name": name, **totals._asdict()})
        return {"stores": stores}

    def _studies(self, request: Request) -> dict[str, Any]:
        query, storage = request.query_params, self._services.storage
        offset = query.get("offset", "0")
        try:
            store = storage.resources.store_id(StoreName.parse(query.get("store", "")))
        except ValueError:
            store = None
        if store is None:
            raise Refusal(error(404, "there is no such store"))
        if not (offset.isascii() and offset.isdigit()) or int(offset[:12]) > MAX_OFFSET:
            raise Refusal(error(400, f"offset is a number from 0 to {MAX_OFFSET}"))
        found = storage.index.latest_studies(store, int(offset), STUDIES_AT_ONCE + 1)
        studies = [study._asdict() for study in found[:STUDIES_AT_ONCE]]
        return {"studies": studies, "more": len(found) > STUDIES_AT_ONCE}


def _file(name: str) -> Response:
    content = (_FOLDER / name).read_bytes()
    return Response(content, headers=_HEADERS, media_type=_TYPES[name.rpartition(".")[2]])
