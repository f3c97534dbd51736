"""Subscriptions of Pub/Sub, and pulling: the service ``google.pubsub.v1.Subscriber``.

Source: Pub/Sub REST reference, ``projects.subscriptions``.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.http.requests import read_object
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer
from orthanc_gcp.emulator.pubsub.messages import MAX_MESSAGES, ack_id, read_deliveries
from orthanc_gcp.emulator.pubsub.resources import (
    already_exists,
    invalid_name,
    list_resources,
    not_found,
    project_of,
)
from orthanc_gcp.emulator.pubsub.subscriptions import (
    SUBSCRIPTION_NAME,
    Subscription,
    read_subscription,
)
from orthanc_gcp.emulator.storage import message_tables
from orthanc_gcp.emulator.storage.database import Database

__all__ = ["Subscriber"]

MAX_PULL = 20.0
"""How many seconds a pull waits for a message."""
PULL_STEP = 0.1
MAX_ACK_DEADLINE = 600


class Subscriber:
    """Handles the methods on subscriptions; each raises :class:`Refusal` where Google refuses."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        allows: Callable[[str], bool] = lambda _permission: True,
    ) -> None:
        self._database = database
        self._clock = clock
        self._allows = allows

    async def create_subscription(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.create``."""
        body = await read_object(request)
        if not SUBSCRIPTION_NAME.fullmatch(name):
            raise invalid_name("subscriptions", name)
        new = read_subscription(body, name)
        try:
            with self._database.transaction() as sql:
                if not sql.execute("SELECT 1 FROM topics WHERE name = ?", (new.topic,)).fetchone():
                    raise not_found(new.topic)
                sql.execute(
                    "INSERT INTO subscriptions (name, project, topic, retention, body)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (name, project_of(name), new.topic, new.retention, json.dumps(new.body)),
                )
        except sqlite3.IntegrityError:
            raise already_exists(name) from None
        return json_answer(new.body)

    async def get_subscription(self, _request: Request, name: str) -> Response:
        """Handle ``subscriptions.get``."""
        return json_answer(self._require(name).body)

    async def list_subscriptions(self, request: Request, project: str) -> Response:
        """Handle ``subscriptions.list``."""
        query = (
            "SELECT name, body FROM subscriptions WHERE project = ? AND name > ?"
            " ORDER BY name LIMIT ?"
        )
        return list_resources(self._database, request, "subscriptions", query, project, json.loads)

    async def delete_subscription(self, _request: Request, name: str) -> Response:
        """Handle ``subscriptions.delete``, with what waits in it."""
        row = self._require(name).row
        await asyncio.to_thread(self._delete, row)
        return json_answer({})

    def _delete(self, row: int) -> None:
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM subscriptions WHERE id = ?", (row,))
            sql.execute("DELETE FROM backlog WHERE subscription = ?", (row,))

    async def pull(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.pull``: wait for a message, unless asked not to."""
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
        counted = bool(self._require(name).dead_letter_topic)
        received = [
            {"ackId": ack_id(row, attempt), "message": message}
            | ({"deliveryAttempt": attempt} if counted else {})
            for row, attempt, message in found
        ]
        return json_answer({"receivedMessages": received} if received else {})

    async def acknowledge(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.acknowledge``."""
        deliveries = read_deliveries(await read_object(request))
        row = self._require(name).row
        await asyncio.to_thread(self._write, message_tables.acknowledge, row, deliveries)
        return json_answer({})

    async def modify_ack_deadline(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.modifyAckDeadline``; no time at all refuses the messages."""
        body = await read_object(request)
        seconds = body.get("ackDeadlineSeconds", 0)
        if not isinstance(seconds, int) or not 0 <= seconds <= MAX_ACK_DEADLINE:
            raise Refusal(
                error(400, f"ack_deadline_seconds has to be between 0 and {MAX_ACK_DEADLINE}.")
            )
        deliveries = read_deliveries(body)
        row = self._require(name).row
        until = self._clock() + seconds if seconds else 0.0
        await asyncio.to_thread(self._write, message_tables.postpone, row, deliveries, until)
        return json_answer({})

    def _write(self, action: Callable[..., None], *arguments: Any) -> None:
        with self._database.transaction() as sql:
            action(sql, *arguments)

    async def _lease(self, name: str, limit: int) -> list[message_tables.Delivery]:
        subscription = self._require(name)
        row, now = subscription.row, self._clock()
        query = "SELECT 1 FROM backlog WHERE subscription = ? AND due <= ? LIMIT 1"
        if self._database.read(query, (row, now)).fetchone() is None:
            return []
        return await asyncio.to_thread(self._take, subscription, limit, now)

    def _take(
        self, subscription: Subscription, limit: int, now: float
    ) -> list[message_tables.Delivery]:
        row, until = subscription.row, now + subscription.ack_deadline
        with self._database.transaction() as sql:
            if topic := subscription.dead_letter_topic:
                most = subscription.max_delivery_attempts
                message_tables.forward_dead_letters(sql, row, topic, most, now)
            return message_tables.lease(sql, row, limit, now, until)

    async def test_iam_permissions(self, request: Request, name: str) -> Response:
        """Handle ``subscriptions.testIamPermissions``; of one that there is not, none is had."""
        names = (await read_object(request)).get("permissions") or []
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            raise Refusal(error(400, "permissions are a list of names."))
        query = "SELECT 1 FROM subscriptions WHERE name = ?"
        there = self._database.read(query, (name,)).fetchone() is not None
        granted = [one for one in names if there and self._allows(one)]
        return json_answer({"permissions": granted} if granted else {})

    def _require(self, name: str) -> Subscription:
        query = "SELECT id, topic, retention, body FROM subscriptions WHERE name = ?"
        found = self._database.read(query, (name,)).fetchone()
        if found is None:
            raise not_found(name)
        row, topic, retention, body = found
        return Subscription(topic, retention, json.loads(body), row)
