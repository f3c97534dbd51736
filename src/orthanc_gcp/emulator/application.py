"""The ASGI application: the way from a request to its handler.

A request is judged in the order of Google's front end: route, credential, scope, permission, and
only then the handler, which looks for the resource and reads the body.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache, partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orthanc_gcp.emulator.admin.admin import Admin
from orthanc_gcp.emulator.admin.page import Page
from orthanc_gcp.emulator.auth.authorization import Gate
from orthanc_gcp.emulator.auth.ec2_metadata_service import AwsMetadata
from orthanc_gcp.emulator.auth.emulator_tokens import AccessTokens, SubjectTokens
from orthanc_gcp.emulator.auth.gce_metadata_server import MetadataServer
from orthanc_gcp.emulator.auth.iam_credentials import TOKEN_OF_ACCOUNT, Impersonation
from orthanc_gcp.emulator.auth.oauth2 import TokenEndpoint
from orthanc_gcp.emulator.auth.security_token_service import AuthorizedUserEndpoint, TokenExchange
from orthanc_gcp.emulator.faults.faults import answer_call, answer_with
from orthanc_gcp.emulator.faults.quotas import Meter
from orthanc_gcp.emulator.faults.rules import Strike
from orthanc_gcp.emulator.healthcare.request_context import RequestContext, Services, resource_of
from orthanc_gcp.emulator.http import responses
from orthanc_gcp.emulator.http.cors import preflight_method, preflight_response, sharing_headers
from orthanc_gcp.emulator.http.recent_requests import NO_STATUS
from orthanc_gcp.emulator.http.requests import skip_body
from orthanc_gcp.emulator.http.responses import GrantError, Refusal
from orthanc_gcp.emulator.pubsub.methods import PubSub
from orthanc_gcp.emulator.routes import Found, find_route

__all__ = ["Answering", "Application", "MetadataApplication"]

logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


class Answering:
    """Turns what :meth:`answer` returns or raises into an answer, dated by Google's clock."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), NO_STATUS
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
            status = response.status_code
            response.raw_headers.append((b"date", self._date()))
            response.raw_headers.extend(sharing_headers(request))
            await response(scope, receive, send)
        except ClientDisconnect:
            return
        finally:
            if not Page.serves(scope):
                seconds = time.perf_counter() - started
                self._services.recent.add(scope["method"], scope["path"], status, seconds)

    async def _respond(self, request: Request) -> Response:
        try:
            return await self.answer(request)
        except (Refusal, GrantError) as refusal:
            return refusal.response
        except ClientDisconnect:
            raise
        except Exception:
            logger.exception("cannot answer %s %s", request.method, request.scope["path"])
            return responses.error(500, "Internal error encountered.")

    async def answer(self, request: Request) -> Response:
        raise NotImplementedError

    def _date(self) -> bytes:
        services = self._services
        return _date(int(services.clock() + services.switches.state.date_offset))


class MetadataApplication(Answering):
    """What is answered on a port of the metadata server's own."""

    def __init__(self, services: Services, metadata: MetadataServer) -> None:
        super().__init__(services)
        self._metadata = metadata

    async def answer(self, request: Request) -> Response:
        if self._services.switches.state.metadata and self._metadata.serves(request):
            return self._metadata(request)
        raise Refusal(responses.page_not_found())


class Application(Answering):
    """What is answered on the main port.

    Parameters
    ----------
    metadata : MetadataServer or None
        The metadata server, when it has no port of its own.
    admin : bool
        Whether the switches can be seen and set.
    """

    def __init__(self, services: Services, metadata: MetadataServer | None, *, admin: bool) -> None:
        super().__init__(services)
        identities, mint, clock = services.identities, services.mint, services.clock
        self._gate = Gate(identities, mint, services.policies, services.switches, clock)
        self._pubsub = PubSub(services.storage.index, services.switches, clock, self._gate)
        self._impersonation = Impersonation(identities, mint, services.switches, clock, self._gate)
        self._meter = Meter(clock, identities.pools.project_number)
        self._metadata = metadata
        self._aws = AwsMetadata()
        self._token_endpoints: dict[str, Endpoint] = {
            "/token": TokenEndpoint(identities, mint, clock),
            "/v1/token": TokenExchange(identities, mint, clock),
            "/v1/oauthtoken": AuthorizedUserEndpoint(identities, mint),
        }
        subject_tokens = SubjectTokens(identities, clock)
        self._own: dict[str, Endpoint] = {
            AccessTokens.PATH: AccessTokens(identities, mint),
            SubjectTokens.PATH: subject_tokens,
            SubjectTokens.KEYS: subject_tokens,
        }
        if admin:
            self._own[Admin.PATH] = Admin(services.switches)
        self._page = Page(services, admin=admin)

    async def answer(self, request: Request) -> Response:
        wanted = preflight_method(request)
        if wanted is not None and self._serves(wanted, request.scope["path"]):
            return preflight_response(request)
        found = find_route(request.method, request.scope["path"])
        if found is None:
            return await self._answer_others(request)
        state = self._services.switches.state
        if not state.calls_suffer:
            return await self._answer_call(found, request)
        return await answer_call(state, partial(self._answer_call, found), request)

    async def _answer_call(
        self, found: Found, request: Request, strike: Strike | None = None
    ) -> Response:
        """Answer a call of the Healthcare API."""
        route, names = found.route, found.names
        identity = self._gate.admit(request, found.rpc, route.permission, resource_of(names))
        state = self._services.switches.state
        if state.quota is not None:
            self._meter.admit(state.quota)
        if strike is not None and strike.fault.token_dies:
            await skip_body(request)
            self._gate.kill_token(request)
            raise Refusal(responses.expired_token(found.rpc))
        context = RequestContext(
            request=request,
            services=self._services,
            version=found.version,
            names=names,
            rpc=found.rpc,
            permission=route.permission,
            identity=identity,
            strike=strike,
        )
        return await route.handler(context)

    def _serves(self, method: str, path: str) -> bool:
        """Tell whether there is a method of an API."""
        return find_route(method, path) is not None or self._pubsub.find(method, path) is not None

    async def _answer_others(self, request: Request) -> Response:
        """Answer what is not a call of the Healthcare API."""
        path, state = request.scope["path"], self._services.switches.state
        endpoint = self._token_endpoints.get(path)
        if endpoint is not None and request.method == "POST":
            return await answer_with(state.token_endpoint, endpoint, request)
        if path in self._own:
            return await self._own[path](request)
        of_pubsub = self._pubsub.find(request.method, path)
        if of_pubsub is not None:
            return await of_pubsub(request)
        impersonated = TOKEN_OF_ACCOUNT.fullmatch(path)
        if impersonated is not None and request.method == "POST":
            return await self._impersonation(request, impersonated["email"])
        if path.startswith(AwsMetadata.PREFIX):
            return self._aws(request)
        if self._metadata is not None and state.metadata and self._metadata.serves(request):
            return self._metadata(request)
        if Page.serves(request.scope):
            return await self._page(request)
        raise Refusal(responses.page_not_found())


@lru_cache(maxsize=8)
def _date(second: int) -> bytes:
    """Return what the header says for all answers of one second."""
    return formatdate(second, usegmt=True).encode()
