"""Topics of Pub/Sub: the service ``google.pubsub.v1.Publisher``.

Source: Pub/Sub REST reference, ``projects.topics`` and ``projects.topics.subscriptions``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.http.requests import read_object
from orthanc_gcp.emulator.http.responses import json_answer
from orthanc_gcp.emulator.pubsub.messages import read_messages
from orthanc_gcp.emulator.pubsub.resources import (
    already_exists,
    invalid_name,
    list_resources,
    not_found,
    project_of,
)
from orthanc_gcp.emulator.pubsub.subscriptions import unsupported
from orthanc_gcp.emulator.storage import message_tables
from orthanc_gcp.emulator.storage.database import Database

__all__ = ["Publisher"]

TOPIC_NAME = re.compile(r"projects/[^/:]+/topics/(?!goog)[A-Za-z][\w.~+%-]{2,254}", re.ASCII)
"""3 to 255 characters, of which the first is a letter and the first four are not ``goog``."""

_DELETED_TOPIC = "_deleted-topic_"
_FIELDS = frozenset({"name", "labels"})


class Publisher:
    """Handles the methods on topics; each raises :class:`Refusal` where Google refuses."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def create_topic(self, request: Request, name: str) -> Response:
        """Handle ``topics.create``."""
        body = await read_object(request)
        if not TOPIC_NAME.fullmatch(name):
            raise invalid_name("topics", name)
        unknown = body.keys() - _FIELDS
        if unknown:
            raise unsupported(unknown)
        body = {**body, "name": name}
        try:
            with self._database.transaction() as sql:
                sql.execute(
                    "INSERT INTO topics VALUES (?, ?, ?)",
                    (name, project_of(name), json.dumps(body)),
                )
        except sqlite3.IntegrityError:
            raise already_exists(name) from None
        return json_answer(body)

    async def get_topic(self, _request: Request, name: str) -> Response:
        """Handle ``topics.get``."""
        return json_answer(self._require(name))

    async def list_topics(self, request: Request, project: str) -> Response:
        """Handle ``topics.list``."""
        query = "SELECT name, body FROM topics WHERE project = ? AND name > ? ORDER BY name LIMIT ?"
        return list_resources(self._database, request, "topics", query, project, json.loads)

    async def delete_topic(self, _request: Request, name: str) -> Response:
        """Handle ``topics.delete``: its subscriptions stay, with what waits in them."""
        self._require(name)
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM topics WHERE name = ?", (name,))
            sql.execute(
                "UPDATE subscriptions SET topic = ?, body = json_set(body, '$.topic', ?)"
                " WHERE topic = ?",
                (_DELETED_TOPIC, _DELETED_TOPIC, name),
            )
        return json_answer({})

    async def list_topic_subscriptions(self, request: Request, name: str) -> Response:
        """Handle ``topics.subscriptions.list``."""
        self._require(name)
        query = (
            "SELECT name, name FROM subscriptions WHERE topic = ? AND name > ?"
            " ORDER BY name LIMIT ?"
        )
        return list_resources(self._database, request, "subscriptions", query, name, str)

    async def publish(self, request: Request, name: str) -> Response:
        """Handle ``topics.publish``."""
        messages = read_messages(await read_object(request))
        ids = await asyncio.to_thread(self._publish, name, messages)
        if ids is None:
            raise not_found(name)
        return json_answer({"messageIds": ids})

    def _publish(self, topic: str, messages: list[dict[str, Any]]) -> list[str] | None:
        with self._database.transaction() as sql:
            return message_tables.publish(sql, topic, messages, self._clock())

    def _require(self, name: str) -> dict[str, Any]:
        row = self._database.read("SELECT body FROM topics WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise not_found(name)
        body: dict[str, Any] = json.loads(row[0])
        return body
