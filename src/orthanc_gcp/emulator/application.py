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

from orthanc_gcp.emulator.admin.admin import Admin, Reset
from orthanc_gcp.emulator.admin.health import HealthCheck
from orthanc_gcp.emulator.admin.web_page import WebPage
from orthanc_gcp.emulator.api_methods import FoundMethod, find_method
from orthanc_gcp.emulator.auth.allowed_locations import AllowedLocations
from orthanc_gcp.emulator.auth.authorization import Authorizer
from orthanc_gcp.emulator.auth.ec2_metadata_service import Ec2MetadataService
from orthanc_gcp.emulator.auth.emulator_tokens import AccessTokenEndpoint, SubjectTokenEndpoint
from orthanc_gcp.emulator.auth.gce_metadata_server import GceMetadataServer
from orthanc_gcp.emulator.auth.iam_credentials import TOKEN_OF_ACCOUNT, GenerateAccessToken
from orthanc_gcp.emulator.auth.oauth2 import TokenEndpoint
from orthanc_gcp.emulator.auth.security_token_service import AuthorizedUserEndpoint, TokenExchange
from orthanc_gcp.emulator.cloud_storage.methods import CloudStorage, shown_path
from orthanc_gcp.emulator.faults.injection import answer_call, answer_token_request
from orthanc_gcp.emulator.faults.quotas import Meter
from orthanc_gcp.emulator.faults.rules import ActiveFault
from orthanc_gcp.emulator.healthcare.locations import require_location
from orthanc_gcp.emulator.healthcare.request_context import RequestContext, Services, resource_of
from orthanc_gcp.emulator.http import responses
from orthanc_gcp.emulator.http.allowed_hosts import AllowedHosts
from orthanc_gcp.emulator.http.cors import preflight_method, preflight_response
from orthanc_gcp.emulator.http.front_end import finish
from orthanc_gcp.emulator.http.recent_requests import NO_STATUS
from orthanc_gcp.emulator.http.requests import raw_path, skip_body
from orthanc_gcp.emulator.http.responses import GrantError, Refusal
from orthanc_gcp.emulator.pubsub.methods import PubSub

__all__ = ["Answering", "Application", "GceMetadataApplication"]

logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


class Answering:
    """Turns what :meth:`answer` returns or raises into an answer, dated by Google's clock.

    Parameters
    ----------
    hosts : AllowedHosts
        The names by which it may be asked.
    """

    def __init__(self, services: Services, hosts: AllowedHosts) -> None:
        self._services, self._hosts = services, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), NO_STATUS
        answered: list[tuple[bytes, bytes]] = []
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
            status = response.status_code
            response.raw_headers.append((b"date", self._date()))
            finish(request, response)
            answered = response.raw_headers
            await response(scope, receive, send)
        except ClientDisconnect:
            return
        finally:
            recent = self._services.recent
            if recent is not None and _is_recorded(scope):
                seconds = time.perf_counter() - started
                method, path, sent = scope["method"], shown_path(scope["path"]), scope["headers"]
                recent.add(method, path, status, seconds, sent, answered)

    async def _respond(self, request: Request) -> Response:
        try:
            self._hosts.require(request)
            return await self.answer(request)
        except (Refusal, GrantError) as refusal:
            return refusal.response
        except ClientDisconnect:
            raise
        except Exception:
            path = shown_path(raw_path(request))
            logger.exception("cannot answer %s %s", request.method, path)
            return responses.error(500, "Internal error encountered.")

    async def answer(self, request: Request) -> Response:
        """Return the answer to a request.

        Raises
        ------
        Refusal, GrantError
            The answer is this refusal.
        """
        raise NotImplementedError

    def _date(self) -> bytes:
        services = self._services
        return _date(int(services.clock() + services.fault_settings.current.date_offset))


class GceMetadataApplication(Answering):
    """What is answered on a port of the metadata server's own."""

    def __init__(
        self, services: Services, hosts: AllowedHosts, metadata: GceMetadataServer
    ) -> None:
        super().__init__(services, hosts)
        self._metadata = metadata

    async def answer(self, request: Request) -> Response:
        """Let the metadata server answer; all other paths raise :class:`Refusal`, the 404 page."""
        if self._services.fault_settings.current.metadata and self._metadata.serves(request):
            return self._metadata(request)
        raise Refusal(responses.page_not_found())


class Application(Answering):
    """What is answered on the main port.

    Parameters
    ----------
    metadata : GceMetadataServer or None
        The metadata server, when it has no port of its own.
    reset : callable
        Brings the emulator back to its start.
    admin : bool
        Whether the fault settings can be seen and set, and the reset can be called.
    """

    def __init__(
        self,
        services: Services,
        hosts: AllowedHosts,
        metadata: GceMetadataServer | None,
        reset: Callable[[], Awaitable[None]],
        *,
        admin: bool,
    ) -> None:
        super().__init__(services, hosts)
        identities, mint, clock = services.identities, services.mint, services.clock
        self._authorizer = Authorizer(
            identities, mint, services.policies, services.fault_settings, clock
        )
        self._pubsub = PubSub(
            services.storage.database, services.fault_settings, clock, self._authorizer
        )
        self._impersonation = GenerateAccessToken(
            identities, mint, services.fault_settings, clock, self._authorizer
        )
        self._allowed_locations = AllowedLocations(identities, self._authorizer)
        self._cloud_storage = CloudStorage(
            services.buckets,
            services.storage.database,
            services.fault_settings,
            clock,
            self._authorizer,
            identities.pools.project_number,
        )
        self._meter = Meter(clock, identities.pools.project_number)
        self._metadata = metadata
        self._aws = Ec2MetadataService()
        self._token_endpoints: dict[str, Endpoint] = {
            "/token": TokenEndpoint(identities, mint, clock),
            "/v1/token": TokenExchange(identities, mint, clock),
            "/v1/oauthtoken": AuthorizedUserEndpoint(identities, mint),
        }
        subject_tokens = SubjectTokenEndpoint(identities, clock)
        self._own: dict[str, Endpoint] = {
            AccessTokenEndpoint.PATH: AccessTokenEndpoint(identities, mint),
            SubjectTokenEndpoint.PATH: subject_tokens,
            SubjectTokenEndpoint.KEYS: subject_tokens,
            HealthCheck.PATH: HealthCheck(),
        }
        if admin:
            self._own[Admin.PATH] = Admin(services.fault_settings)
            self._own[Reset.PATH] = Reset(reset)
        self._page = WebPage(services, admin=admin)

    async def answer(self, request: Request) -> Response:
        """Answer a preflight, a method of the Healthcare API, or one of another service."""
        wanted = preflight_method(request)
        if wanted is not None and self._serves(wanted, request):
            return preflight_response(request)
        found = find_method(request.method, raw_path(request))
        if found is None:
            return await self._answer_others(request)
        settings = self._services.fault_settings.current
        if not settings.disturb_calls:
            return await self._answer_call(found, request)
        return await answer_call(settings, partial(self._answer_call, found), request)

    async def _answer_call(
        self, found: FoundMethod, request: Request, active: ActiveFault | None = None
    ) -> Response:
        """Answer a call of the Healthcare API."""
        method, names = found.method, found.names
        identity = self._authorizer.admit(request, found.rpc, method.permission, resource_of(names))
        settings = self._services.fault_settings.current
        if settings.quota is not None:
            self._meter.admit(settings.quota)
            request = self._meter.metered(request)
        if active is not None and active.fault.token_dies:
            await skip_body(request)
            self._authorizer.expire_token(request)
            raise Refusal(responses.expired_token(found.rpc))
        context = RequestContext(
            request=request,
            services=self._services,
            version=found.version,
            names=names,
            rpc=found.rpc,
            permission=method.permission,
            identity=identity,
            active_fault=active,
        )
        require_location(context)
        return await method.handler(context)

    def _serves(self, method: str, request: Request) -> bool:
        """Return whether there is a method of an API at the path of a request."""
        if find_method(method, raw_path(request)) is not None:
            return True
        return self._pubsub.find(method, request.scope["path"]) is not None

    async def _answer_others(self, request: Request) -> Response:
        """Answer what is not a call of the Healthcare API."""
        path, settings = request.scope["path"], self._services.fault_settings.current
        endpoint = self._token_endpoints.get(path)
        if endpoint is not None and request.method == "POST":
            return await answer_token_request(settings.token_endpoint, endpoint, request)
        if path in self._own:
            return await self._own[path](request)
        of_pubsub = self._pubsub.find(request.method, path)
        if of_pubsub is not None:
            return await of_pubsub(request)
        of_storage = self._cloud_storage.find(request)
        if of_storage is not None:
            return await of_storage()
        if self._allowed_locations.serves(request):
            return self._allowed_locations(request)
        impersonated = TOKEN_OF_ACCOUNT.fullmatch(path)
        if impersonated is not None and request.method == "POST":
            return await self._impersonation(request, impersonated["email"])
        if path.startswith(Ec2MetadataService.PREFIX):
            return self._aws(request)
        if self._metadata is not None and settings.metadata and self._metadata.serves(request):
            return self._metadata(request)
        if WebPage.serves(request.scope):
            return await self._page(request)
        raise Refusal(responses.page_not_found())


def _is_recorded(scope: Scope) -> bool:
    """Return whether a request is another than those that ask about the emulator itself."""
    return scope["path"] != HealthCheck.PATH and not WebPage.serves(scope)


@lru_cache(maxsize=8)
def _date(second: int) -> bytes:
    """Return what the header says for all answers of one second."""
    return formatdate(second, usegmt=True).encode()
