"""Topics, subscriptions, and the messages that wait in them: tables of the database.

A message is written once for each subscription of its topic, and stays until it is acknowledged,
until its time is over, or until :data:`MAX_WAITING` newer ones wait somewhere. It can be written in
the transaction that makes the change that it is about.
"""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from orthanc_gcp.emulator.http.timestamps import timestamp

__all__ = [
    "MAX_WAITING",
    "Delivery",
    "acknowledge",
    "forward_dead_letters",
    "lease",
    "postpone",
    "publish",
]

logger = logging.getLogger(__name__)

MAX_WAITING = 100_000
"""How many messages wait at most, in all subscriptions together; the oldest go first."""

MAX_PULLED = 10 * 1024 * 1024
"""How many bytes of messages are delivered at once, unless one alone is longer."""


class Delivery(NamedTuple):
    """A message on its way to a subscriber, for the ``attempt``-th time."""

    row: int
    attempt: int
    message: dict[str, Any]


def publish(
    sql: sqlite3.Connection, topic: str, messages: Iterable[dict[str, Any]], now: float
) -> list[str] | None:
    """Write messages to the subscriptions of a topic; return their ids, nothing without a topic.

    ``now`` is in seconds since 1970, as all moments here.
    """
    if sql.execute("SELECT 1 FROM topics WHERE name = ?", (topic,)).fetchone() is None:
        return None
    chosen = sql.execute("SELECT id, retention FROM subscriptions WHERE topic = ?", (topic,))
    subscriptions = chosen.fetchall()
    ids, last = [], 0
    for message in messages:
        ids.append(str(secrets.randbelow(9 * 10**15) + 10**15))
        whole = json.dumps({**message, "messageId": ids[-1], "publishTime": timestamp(now)})
        for subscription, retention in subscriptions:
            done = sql.execute(
                "INSERT INTO backlog (subscription, message, ends) VALUES (?, ?, ?)",
                (subscription, whole, now + retention),
            )
            last = done.lastrowid or last
    sql.execute("DELETE FROM backlog WHERE ends <= ?", (now,))
    # To count what waits takes its time; so there are a few more at times.
    step = max(1, MAX_WAITING // 100)
    if last // step != (last - len(ids) * len(subscriptions)) // step:
        _drop_oldest(sql, last)
    return ids


def _drop_oldest(sql: sqlite3.Connection, last: int) -> None:
    """Forget the oldest messages beyond :data:`MAX_WAITING`; ``last`` is the row of the newest."""
    (first,) = sql.execute("SELECT MIN(id) FROM backlog").fetchone()
    if first is None or last - first < MAX_WAITING:
        return
    # Most of the rows in between may be gone, because they were acknowledged.
    done = sql.execute(
        "DELETE FROM backlog WHERE id <="
        " (SELECT id FROM backlog ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (MAX_WAITING,),
    )
    if done.rowcount:
        logger.warning("%d messages are lost: more than %d wait", done.rowcount, MAX_WAITING)


def forward_dead_letters(
    sql: sqlite3.Connection, subscription: int, topic: str, attempts: int, now: float
) -> None:
    """Publish to a topic what was delivered so often, and is due again."""
    query = "SELECT id, message FROM backlog WHERE subscription = ? AND attempts >= ? AND due <= ?"
    for row, text in sql.execute(query, (subscription, attempts, now)).fetchall():
        message = json.loads(text)
        given = {key: message[key] for key in ("data", "attributes") if key in message}
        if publish(sql, topic, [given], now) is not None:
            sql.execute("DELETE FROM backlog WHERE id = ?", (row,))


def lease(
    sql: sqlite3.Connection, subscription: int, limit: int, now: float, until: float
) -> list[Delivery]:
    """Return messages that are due, the oldest first; they are due again at ``until``.

    They are ``limit`` at most, and :data:`MAX_PULLED` bytes.
    """
    found = sql.execute(
        "SELECT id, attempts + 1, message FROM backlog"
        " WHERE subscription = ? AND due <= ? AND ends > ? ORDER BY due, id LIMIT ?",
        (subscription, now, now, limit),
    )
    deliveries: list[Delivery] = []
    size = 0
    for row, attempt, message in found:
        size += len(message)
        if deliveries and size > MAX_PULLED:
            break
        deliveries.append(Delivery(row, attempt, json.loads(message)))
    sql.executemany(
        "UPDATE backlog SET due = ?, attempts = ? WHERE id = ?",
        [(until, delivery.attempt, delivery.row) for delivery in deliveries],
    )
    return deliveries


def acknowledge(
    sql: sqlite3.Connection, subscription: int, deliveries: Sequence[tuple[int, int]]
) -> None:
    """Forget messages, also those whose deadline is over by now."""
    sql.executemany(
        "DELETE FROM backlog WHERE id = ? AND subscription = ?",
        [(row, subscription) for row, _ in deliveries],
    )


def postpone(
    sql: sqlite3.Connection, subscription: int, deliveries: Sequence[tuple[int, int]], until: float
) -> None:
    """Set when messages are due again, unless they were delivered again since."""
    sql.executemany(
        "UPDATE backlog SET due = ? WHERE id = ? AND attempts = ? AND subscription = ?",
        [(until, row, attempt, subscription) for row, attempt in deliveries],
    )
