"""The REST interface of Pub/Sub (REST reference, v1), as far as topics and pulling go."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.access_tokens import CLOUD_PLATFORM
from orthanc_gcp.emulator.auth.authorization import Authorizer
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.faults.permissions import CONSUME
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.pubsub.publisher import Publisher
from orthanc_gcp.emulator.pubsub.subscriber import Subscriber
from orthanc_gcp.emulator.storage.database import Database

__all__ = ["PubSub"]

PUBSUB_SCOPES = ("https://www.googleapis.com/auth/pubsub", CLOUD_PLATFORM)
_CONSUMING = frozenset(f"Subscriber.{one}" for one in ("Pull", "Acknowledge", "ModifyAckDeadline"))
_PATH = re.compile(
    r"/v1/(?P<parent>projects/[^/:]+)/(?P<kind>topics|subscriptions)"
    r"(/(?P<id>[^/:]+)(:(?P<verb>\w+)|/(?P<children>subscriptions))?)?"
)

Handler = Callable[[Request, str], Awaitable[Response]]
"""Takes a request and the name of a resource, or of the project whose resources are listed."""


class PubSub:
    """Topics and subscriptions of all projects.

    Everybody with the scope may do everything, but for what the fault settings take away.
    """

    def __init__(
        self,
        database: Database,
        fault_settings: FaultSettings,
        clock: Callable[[], float],
        authorizer: Authorizer,
    ) -> None:
        self._fault_settings = fault_settings
        self._authorizer = authorizer
        subscriber = Subscriber(database, clock, self._allows)
        self._methods = _methods(Publisher(database, clock), subscriber)

    def find(self, verb: str, path: str) -> Callable[[Request], Awaitable[Response]] | None:
        """Return what handles a request, if there is something."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        operation = match["verb"] or match["children"] or ("one" if match["id"] else "all")
        known = self._methods.get((verb, match["kind"], operation))
        if known is None:
            return None
        rpc, handler = known
        name = f"{match['parent']}/{match['kind']}/{match['id']}" if match["id"] else ""
        return partial(self._answer, rpc=rpc, handler=handler, name=name or match["parent"])

    async def _answer(self, request: Request, *, rpc: str, handler: Handler, name: str) -> Response:
        token = self._authorizer.identify(request, f"google.pubsub.v1.{rpc}", PUBSUB_SCOPES)
        if token.identity in self._fault_settings.current.strangers:
            raise Refusal(error(403, "User not authorized to perform this action."))
        if rpc in _CONSUMING and not self._allows(CONSUME):
            raise Refusal(error(403, "User not authorized to perform this action."))
        return await handler(request, name)

    def _allows(self, permission: str) -> bool:
        return permission not in self._fault_settings.current.denied_permissions


def _methods(
    topics: Publisher, subscriptions: Subscriber
) -> dict[tuple[str, str, str], tuple[str, Handler]]:
    """Return each method's name at Google and its handler, by verb, kind and operation."""
    of_topics: dict[tuple[str, str], tuple[str, Handler]] = {
        ("PUT", "one"): ("CreateTopic", topics.create_topic),
        ("GET", "one"): ("GetTopic", topics.get_topic),
        ("GET", "all"): ("ListTopics", topics.list_topics),
        ("DELETE", "one"): ("DeleteTopic", topics.delete_topic),
        ("GET", "subscriptions"): ("ListTopicSubscriptions", topics.list_topic_subscriptions),
        ("POST", "publish"): ("Publish", topics.publish),
    }
    of_subscriptions: dict[tuple[str, str], tuple[str, Handler]] = {
        ("PUT", "one"): ("CreateSubscription", subscriptions.create_subscription),
        ("GET", "one"): ("GetSubscription", subscriptions.get_subscription),
        ("GET", "all"): ("ListSubscriptions", subscriptions.list_subscriptions),
        ("DELETE", "one"): ("DeleteSubscription", subscriptions.delete_subscription),
        ("POST", "pull"): ("Pull", subscriptions.pull),
        ("POST", "acknowledge"): ("Acknowledge", subscriptions.acknowledge),
        ("POST", "modifyAckDeadline"): ("ModifyAckDeadline", subscriptions.modify_ack_deadline),
        ("POST", "testIamPermissions"): (
            "TestIamPermissions",
            subscriptions.test_iam_permissions,
        ),
    }
    return {
        (verb, kind, operation): (f"{service}.{name}", handler)
        for kind, service, methods in (
            ("topics", "Publisher", of_topics),
            ("subscriptions", "Subscriber", of_subscriptions),
        )
        for (verb, operation), (name, handler) in methods.items()
    }
