"""The page at ``/``: what is stored, what was asked last, and the fault settings.

Everything on it but the way to turn it on takes ``--admin``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from orthanc_gcp.emulator.admin.instance_view import InstanceView
from orthanc_gcp.emulator.admin.listings import Listings, natural_number
from orthanc_gcp.emulator.faults.fault_settings import SETTINGS
from orthanc_gcp.emulator.healthcare.request_context import Services
from orthanc_gcp.emulator.http.responses import Refusal, error, page_not_found

__all__ = ["WebPage"]

_FOLDER = files("orthanc_gcp.emulator.admin") / "web"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_NAMES = (
    "page.css",
    "page.svg",
    "page.js",
    "elements.js",
    "requests.js",
    "settings.js",
    "stores.js",
)
_FILES = {f"/emulator/{name}": name for name in _NAMES}
_VIEWS = {
    f"/emulator/{name}"
    for name in (
        "overview",
        "settings",
        "request",
        "stores",
        "studies",
        "series",
        "instances",
        "instance",
        "rendered",
    )
}
_PATHS = {"/", *_FILES, *_VIEWS}
_MAX_NUMBER = 10**11

View = Callable[[QueryParams], Awaitable[Response]]


class WebPage:
    """Serves the page, and with ``--admin`` what it shows.

    A call raises :class:`Refusal`: 404 for what there is not, 400 for numbers that cannot be and
    for images that cannot be rendered.
    """

    def __init__(self, services: Services, *, admin: bool) -> None:
        self._services = services
        self._files = {"/": "page.html" if admin else "closed.html", **_FILES}
        self._views = self._make_views() if admin else {}

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
        response = await self._views[path](request.query_params)
        response.headers.update(_HEADERS)
        return response

    def _make_views(self) -> dict[str, View]:
        listings = Listings(self._services.storage)
        instance = InstanceView(self._services.storage, self._services.imaging)
        views: dict[str, View] = {
            "overview": self._overview,
            "settings": self._settings,
            "request": self._request,
            "stores": _in_thread(listings.stores),
            "studies": _in_thread(listings.studies),
            "series": _in_thread(listings.series),
            "instances": _in_thread(listings.instances),
            "instance": _in_thread(instance.attributes),
            "rendered": instance.rendered,
        }
        return {f"/emulator/{name}": view for name, view in views.items()}

    async def _overview(self, _query: QueryParams) -> Response:
        """Return what changes all the time; it is the server's thread that changes it."""
        recent = self._services.recent
        values = self._services.fault_settings.as_json()
        return _json(
            {
                "requests": recent.as_json() if recent is not None else [],
                "settings": {name: json.dumps(value) for name, value in values.items()},
            }
        )

    async def _settings(self, _query: QueryParams) -> Response:
        return _json(
            {
                "settings": [
                    {
                        "name": name,
                        "area": setting.area,
                        "at_first": json.dumps(setting.at_first),
                        "sentence": setting.sentence,
                        "control": setting.control,
                        "unit": setting.unit,
                        "choices": [json.dumps(choice) for choice in setting.choices],
                    }
                    for name, setting in SETTINGS.items()
                ]
            }
        )

    async def _request(self, query: QueryParams) -> Response:
        recent, number = self._services.recent, natural_number(query, "number", 1, _MAX_NUMBER)
        found = recent.find(number) if recent is not None else None
        if found is None:
            raise Refusal(error(404, "The request is no longer among the last ones."))
        return _json(found.head())


def _json(body: dict[str, Any]) -> Response:
    """Return an answer to the page; not printed for people, which takes ten times as long."""
    return Response(json.dumps(body), media_type="application/json")


def _in_thread(view: Callable[[QueryParams], dict[str, Any]]) -> View:
    async def answer(query: QueryParams) -> Response:
        return _json(await asyncio.to_thread(view, query))

    return answer


def _file(name: str) -> Response:
    content = (_FOLDER / name).read_bytes()
    return Response(content, headers=_HEADERS, media_type=_TYPES[name.rpartition(".")[2]])
