"""The ASGI application: routes, credentials, and the way from a request to its handler.

A request is judged in the order of Google's front end: route, credential, scope, and only then
the handler, which looks for the resource and reads the body.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orthanc_gcp.emulator import responses
from orthanc_gcp.emulator.access_tokens import ExpiredTokenError, InvalidTokenError
from orthanc_gcp.emulator.calls import Call, Services
from orthanc_gcp.emulator.control import create_store, get_operation, get_store, list_stores
from orthanc_gcp.emulator.deletion import delete_instance, delete_series, delete_study
from orthanc_gcp.emulator.names import DatasetName
from orthanc_gcp.emulator.oauth2 import TokenEndpoint
from orthanc_gcp.emulator.qido import search_instances, search_series, search_studies
from orthanc_gcp.emulator.responses import Refusal
from orthanc_gcp.emulator.stow import store_instances
from orthanc_gcp.emulator.wado import retrieve, retrieve_instance, retrieve_metadata

__all__ = ["Application"]

logger = logging.getLogger(__name__)

Handler = Callable[[Call], Awaitable[Response]]

_DATASET = re.compile(
    r"/(?P<version>v1|v1beta1)/projects/(?P<project>[^/:]+)/locations/(?P<location>[^/:]+)"
    r"/datasets/(?P<dataset>[^/:]+)(?P<rest>/.*)"
)
_STORE = "/dicomStores/(?P<store>[^/:]+)"
_STUDIES = f"{_STORE}/dicomWeb/studies"
_STUDY = f"{_STUDIES}/(?P<study>[^/:]+)"
_SERIES = f"{_STUDY}/series/(?P<series>[^/:]+)"
_INSTANCE = f"{_SERIES}/instances/(?P<instance>[^/:]+)"


@dataclass(frozen=True)
class Route:
    """A method of the API: ``rpc`` and ``permission`` are Google's names for it."""

    verb: str
    path: re.Pattern[str]
    handler: Handler
    rpc: str
    permission: str


def _web(verb: str, path: str, handler: Handler, method: str, permission: str) -> Route:
    rpc = f"dicomweb.DicomWebService.{method}"
    return Route(
        verb, re.compile(path), handler, rpc, f"healthcare.dicomStores.dicomWeb{permission}"
    )


def _control(verb: str, path: str, handler: Handler, method: str, permission: str) -> Route:
    return Route(verb, re.compile(path), handler, method, f"healthcare.{permission}")


_ROUTES = (
    # Google accepted a slash at the end of the path of uploads.
    _web("POST", f"{_STUDIES}/?", store_instances, "StoreInstances", "Write"),
    _web("POST", f"{_STUDY}/?", store_instances, "StoreInstances", "Write"),
    _web("GET", _STUDIES, search_studies, "SearchForStudies", "Read"),
    _web("GET", f"{_STORE}/dicomWeb/series", search_series, "SearchForSeries", "Read"),
    _web("GET", f"{_STORE}/dicomWeb/instances", search_instances, "SearchForInstances", "Read"),
    _web("GET", f"{_STUDY}/series", search_series, "SearchForSeries", "Read"),
    _web("GET", f"{_STUDY}/instances", search_instances, "SearchForInstances", "Read"),
    _web("GET", f"{_SERIES}/instances", search_instances, "SearchForInstances", "Read"),
    _web("GET", _STUDY, retrieve, "RetrieveStudy", "Read"),
    _web("GET", _SERIES, retrieve, "RetrieveSeries", "Read"),
    _web("GET", _INSTANCE, retrieve_instance, "RetrieveInstance", "Read"),
    _web("GET", f"{_STUDY}/metadata", retrieve_metadata, "RetrieveStudyMetadata", "Read"),
    _web("GET", f"{_SERIES}/metadata", retrieve_metadata, "RetrieveSeriesMetadata", "Read"),
    _web("GET", f"{_INSTANCE}/metadata", retrieve_metadata, "RetrieveInstanceMetadata", "Read"),
    _web("DELETE", _STUDY, delete_study, "DeleteStudy", "Delete"),
    _web("DELETE", _SERIES, delete_series, "DeleteSeries", "Delete"),
    _web("DELETE", _INSTANCE, delete_instance, "DeleteInstance", "Delete"),
    _control("GET", _STORE, get_store, "dicom.DicomService.GetDicomStore", "dicomStores.get"),
    _control(
        "GET", "/dicomStores", list_stores, "dicom.DicomService.ListDicomStores", "dicomStores.list"
    ),
    _control(
        "POST",
        "/dicomStores",
        create_store,
        "dicom.DicomService.CreateDicomStore",
        "dicomStores.create",
    ),
    _control(
        "GET",
        "/operations/(?P<operation>[^/:]+)",
        get_operation,
        "operations.OperationsService.GetOperation",
        "operations.get",
    ),
)


class Application:
    """Everything that the emulator answers."""

    def __init__(self, services: Services, token_endpoint: TokenEndpoint) -> None:
        self._services = services
        self._token_endpoint = token_endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Refusal as refusal:
            response = refusal.response
        except ClientDisconnect:
            return
        except Exception:
            logger.exception("cannot answer %s %s", request.method, request.scope["path"])
            response = responses.error(500, "Internal error encountered.")
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.scope["path"] == "/token" and request.method == "POST":
            return await self._token_endpoint(request)
        call, handler = self._route(request)
        self._authorize(request, call.rpc)
        return await handler(call)

    def _route(self, request: Request) -> tuple[Call, Handler]:
        match = _DATASET.fullmatch(request.scope["path"])
        if match is not None:
            version, rest = match["version"], match["rest"]
            for route in _ROUTES:
                found = route.path.fullmatch(rest) if route.verb == request.method else None
                if found is not None:
                    dataset = DatasetName(match["project"], match["location"], match["dataset"])
                    rpc = f"google.cloud.healthcare.{version}.{route.rpc}"
                    names = found.groupdict()
                    services = self._services
                    call = Call(request, services, version, dataset, names, rpc, route.permission)
                    return call, route.handler
        raise Refusal(responses.page_not_found())

    def _authorize(self, request: Request, rpc: str) -> None:
        credential = _credential(request)
        if credential is None:
            raise Refusal(responses.missing_credential(rpc))
        try:
            token = self._services.mint.read(credential)
        except ExpiredTokenError:
            raise Refusal(responses.expired_token(rpc)) from None
        except InvalidTokenError:
            raise Refusal(responses.invalid_token()) from None
        if not token.allows_healthcare:
            raise Refusal(responses.insufficient_scope(rpc))


def _credential(request: Request) -> str | None:
    """Return the access token of a request; nothing when it has no credential at all."""
    header = request.headers.get("authorization")
    if header is None:
        return request.query_params.get("access_token")
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
