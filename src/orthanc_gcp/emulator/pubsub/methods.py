"""The REST interface of Pub/Sub (REST reference, v1), as far as topics and pulling go."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.access_tokens import CLOUD_PLATFORM
from orthanc_gcp.emulator.auth.authorization import Authorizer
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.http.requests import page_size, read_object
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer
from orthanc_gcp.emulator.pubsub.messages import (
    MAX_MESSAGES,
    ack_id,
    read_deliveries,
    read_messages,
)
from orthanc_gcp.emulator.pubsub.subscriptions import (
    SUBSCRIPTION_NAME,
    Subscription,
    read_subscription,
    unsupported,
)
from orthanc_gcp.emulator.storage import message_tables
from orthanc_gcp.emulator.storage.index import Index

__all__ = ["PubSub"]

PUBSUB_SCOPES = ("https://www.googleapis.com/auth/pubsub", CLOUD_PLATFORM)
MAX_PULL = 20.0
"""How many seconds a pull waits for a message."""
PULL_STEP = 0.1

TOPIC_NAME = re.compile(r"projects/[^/:]+/topics/(?!goog)[A-Za-z][\w.~+%-]{2,254}", re.ASCII)
_PATH = re.compile(
    r"/v1/(?P<parent>projects/[^/:]+)/(?P<kind>topics|subscriptions)"
    r"(/(?P<id>[^/:]+)(:(?P<verb>\w+)|/(?P<children>subscriptions))?)?"
)
_DELETED_TOPIC = "_deleted-topic_"
_TOPIC_FIELDS = frozenset({"name", "labels"})

Handler = Callable[["PubSub", Request, str], Awaitable[Response]]


class PubSub:
    """Topics and subscriptions of all projects; everybody with the scope may do everything."""

    def __init__(
        self,
        index: Index,
        fault_settings: FaultSettings,
        clock: Callable[[], float],
        authorizer: Authorizer,
    ) -> None:
        self._index, self._fault_settings = index, fault_settings
        self._clock, self._authorizer = clock, authorizer

    def find(self, verb: str, path: str) -> Callable[[Request], Awaitable[Response]] | None:
        """Return what handles a request, if there is something."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        operation = match["verb"] or match["children"] or ("one" if match["id"] else "all")
        known = _METHODS.get((verb, match["kind"], operation))
        if known is None:
            return None
        rpc, handler = known
        name = f"{match['parent']}/{match['kind']}/{match['id']}" if match["id"] else ""
        return partial(self._answer, rpc=rpc, handler=handler, name=name or match["parent"])

    async def _answer(self, request: Request, *, rpc: str, handler: Handler, name: str) -> Response:
        identity = self._authorizer.identify(
            request, f"google.pubsub.v1.{rpc}", PUBSUB_SCOPES
        ).identity
        if identity in self._fault_settings.current.strangers:
            raise Refusal(error(403, "User not authorized to perform this action."))
        return await handler(self, request, name)

    # Topics

    async def create_topic(self, request: Request, name: str) -> Response:
        """Handle ``topics.create``."""
        body = await read_object(request)
        if not TOPIC_NAME.fullmatch(name):
            raise _invalid_name("topics", name)
        unknown = body.keys() - _TOPIC_FIELDS
        if unknown:
            raise unsupported(unknown)
        body = {**body, "name": name}
        try:
            with self._index.transaction() as sql:
                sql.execute(
                    "INSERT INTO topics VALUES (?, ?, ?)", (name, _project(name), json.dumps(body))
                )
        except sqlite3.IntegrityError:
            raise _exists(name) from None
        return json_answer(body)

    async def get_topic(self, _request: Request, name: str) -> Response:
        """Handle ``topics.get``."""
        return json_answer(self._require_topic(name))

    async def list_topics(self, request: Request, project: str) -> Response:
        """Handle ``topics.list``."""
        query = "SELECT name, body FROM topics WHERE project = ? AND name > ? ORDER BY name LIMIT ?"
        return self._list(request, "topics", query, project, json.loads)

    async def delete_topic(self, _request: Request, name: str) -> Response:
        """Handle ``topics.delete``: its subscriptions stay, with what waits in them."""
        self._require_topic(name)
        with self._index.transaction() as sql:
            sql.execute("DELETE FROM topics WHERE name = ?", (name,))
            sql.execute(
                "UPDATE subscriptions SET topic = ?, body = json_set(body, '$.topic', ?)"
                " WHERE topic = ?",
                (_DELETED_TOPIC, _DELETED_TOPIC, name),
            )
        return json_answer({})

    async def list_topic_subscriptions(self, request: Request, name: str) -> Response:
        """Handle ``topics.subscriptions.list``."""
        self._require_topic(name)
        query = (
            "SELECT name, name FROM subscriptions WHERE topic = ? AND name > ?"
            " ORDER BY name LIMIT ?"
        )
        return self._list(request, "subscriptions", query, name, str)

    async def publish(self, request: Request, name: str) -> Response:
        """Handle ``topics.publish``."""
        messages = read_messages(await read_object(request))
        ids = await asyncio.to_thread(self._publish, name, messages)
        if ids is None:
            raise _missing(name)
        return json_answer({"messageIds": ids})

    def _publish(self, topic: str, messages: list[dict[str, Any]]) -> list[str] | None:
        with self._index.transaction() as sql:
            return message_tables.publish(sql, topic, messages, self._clock())

    def _require_topic(self, name: str) -> dict[str, Any]:
        row = self._index.read("SELECT body FROM topics WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise _missing(name)
        body: dict[str, Any] = json.loads(row[0])
        return body

    # Subscriptions

    async def create_subscription(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.create``."""
        body = await read_object(request)
        if not SUBSCRIPTION_NAME.fullmatch(name):
            raise _invalid_name("subscriptions", name)
        new = read_subscription(body, name)
        try:
            with self._index.transaction() as sql:
                if not sql.execute("SELECT 1 FROM topics WHERE name = ?", (new.topic,)).fetchone():
                    raise _missing(new.topic)
                sql.execute(
                    "INSERT INTO subscriptions (name, project, topic, retention, body)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (name, _project(name), new.topic, new.retention, json.dumps(new.body)),
                )
        except sqlite3.IntegrityError:
            raise _exists(name) from None
        return json_answer(new.body)

    async def get_subscription(self, _request: Request, name: str) -> Response:
        """Handle ``subscriptions.get``."""
        return json_answer(self._require_subscription(name).body)

    async def list_subscriptions(self, request: Request, project: str) -> Response:
        """Handle ``subscriptions.list``."""
        query = (
            "SELECT name, body FROM subscriptions WHERE project = ? AND name > ?"
            " ORDER BY name LIMIT ?"
        )
        return self._list(request, "subscriptions", query, project, json.loads)

    async def delete_subscription(self, _request: Request, name: str) -> Response:
        """Handle ``subscriptions.delete``, with what waits in it."""
        row = self._require_subscription(name).row
        await asyncio.to_thread(self._delete, row)
        return json_answer({})

    def _delete(self, row: int) -> None:
        with self._index.transaction() as sql:
            sql.execute("DELETE FROM subscriptions WHERE id = ?", (row,))
            sql.execute("DELETE FROM backlog WHERE subscription = ?", (row,))

    async def pull(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.pull``: wait for a message, unless told otherwise."""
        body = await read_object(request)
        limit = body.get("maxMessages")
        if not isinstance(limit, int) or limit <= 0:
            raise Refusal(error(400, "max_messages has to be a positive number."))
        limit = min(limit, MAX_MESSAGES)
        steps = 0 if body.get("returnImmediately") is True else round(MAX_PULL / PULL_STEP)
        while not (found := await self._lease(name, limit)) and steps:
            # Whoever has left must not be given messages that others wait for.
            if await request.is_disconnected():
                break
            await asyncio.sleep(PULL_STEP)
            steps -= 1
        received = [
            {"ackId": ack_id(row, attempt), "message": message, "deliveryAttempt": attempt}
            for row, attempt, message in found
        ]
        return json_answer({"receivedMessages": received} if received else {})

    async def acknowledge(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.acknowledge``."""
        deliveries = read_deliveries(await read_object(request))
        row = self._require_subscription(name).row
        await asyncio.to_thread(self._write, message_tables.acknowledge, row, deliveries)
        return json_answer({})

    async def modify_ack_deadline(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.modifyAckDeadline``; no time at all refuses the messages."""
        body = await read_object(request)
        seconds = body.get("ackDeadlineSeconds", 0)
        if not isinstance(seconds, int) or not 0 <= seconds <= 600:
            raise Refusal(error(400, "ack_deadline_seconds has to be between 0 and 600."))
        deliveries = read_deliveries(body)
        row = self._require_subscription(name).row
        until = self._clock() + seconds if seconds else 0.0
        await asyncio.to_thread(self._write, message_tables.postpone, row, deliveries, until)
        return json_answer({})

    def _write(self, action: Callable[..., None], *arguments: Any) -> None:
        with self._index.transaction() as sql:
            action(sql, *arguments)

    async def _lease(self, name: str, limit: int) -> list[message_tables.Delivery]:
        subscription = self._require_subscription(name)
        row, now = subscription.row, self._clock()
        query = "SELECT 1 FROM backlog WHERE subscription = ? AND due <= ? LIMIT 1"
        if self._index.read(query, (row, now)).fetchone() is None:
            return []
        return await asyncio.to_thread(self._take, row, limit, now, now + subscription.ack_deadline)

    def _take(
        self, row: int, limit: int, now: float, until: float
    ) -> list[message_tables.Delivery]:
        with self._index.transaction() as sql:
            return message_tables.lease(sql, row, limit, now, until)

    def _require_subscription(self, name: str) -> Subscription:
        query = "SELECT id, topic, retention, body FROM subscriptions WHERE name = ?"
        found = self._index.read(query, (name,)).fetchone()
        if found is None:
            raise _missing(name)
        row, topic, retention, body = found
        return Subscription(topic, retention, json.loads(body), row)

    def _list(
        self, request: Request, field: str, query: str, under: str, read: Callable[[str], Any]
    ) -> Response:
        """Return a page of resources; its token is the last name on it."""
        size = page_size(request)
        after = request.query_params.get("pageToken", "")
        rows = self._index.read(query, (under, after, size + 1)).fetchall()
        answer: dict[str, Any] = {}
        if rows:
            answer[field] = [read(value) for _, value in rows[:size]]
        if len(rows) > size:
            answer["nextPageToken"] = rows[size - 1][0]
        return json_answer(answer)


_METHODS: dict[tuple[str, str, str], tuple[str, Handler]] = {
    ("PUT", "topics", "one"): ("Publisher.CreateTopic", PubSub.create_topic),
    ("GET", "topics", "one"): ("Publisher.GetTopic", PubSub.get_topic),
    ("GET", "topics", "all"): ("Publisher.ListTopics", PubSub.list_topics),
    ("DELETE", "topics", "one"): ("Publisher.DeleteTopic", PubSub.delete_topic),
    ("GET", "topics", "subscriptions"): (
        "Publisher.ListTopicSubscriptions",
        PubSub.list_topic_subscriptions,
    ),
    ("POST", "topics", "publish"): ("Publisher.Publish", PubSub.publish),
    ("PUT", "subscriptions", "one"): ("Subscriber.CreateSubscription", PubSub.create_subscription),
    ("GET", "subscriptions", "one"): ("Subscriber.GetSubscription", PubSub.get_subscription),
    ("GET", "subscriptions", "all"): ("Subscriber.ListSubscriptions", PubSub.list_subscriptions),
    ("DELETE", "subscriptions", "one"): (
        "Subscriber.DeleteSubscription",
        PubSub.delete_subscription,
    ),
    ("POST", "subscriptions", "pull"): ("Subscriber.Pull", PubSub.pull),
    ("POST", "subscriptions", "acknowledge"): ("Subscriber.Acknowledge", PubSub.acknowledge),
    ("POST", "subscriptions", "modifyAckDeadline"): (
        "Subscriber.ModifyAckDeadline",
        PubSub.modify_ack_deadline,
    ),
}


def _project(name: str) -> str:
    return "/".join(name.split("/")[:2])


def _missing(name: str) -> Refusal:
    return Refusal(error(404, f"Resource not found (resource={name.rpartition('/')[2]})."))


def _exists(name: str) -> Refusal:
    resource = name.rpartition("/")[2]
    return Refusal(error(409, f"Resource already exists in the project (resource={resource})."))


def _invalid_name(kind: str, name: str) -> Refusal:
    return Refusal(error(400, f"Invalid [{kind}] name: (name={name})"))
