"""Messages of Pub/Sub, and the names of their deliveries, as requests bring them.

Source: Pub/Sub REST reference, types ``PubsubMessage`` and ``ReceivedMessage``.
"""

from __future__ import annotations

import base64
from typing import Any

from orthanc_gcp.emulator.http.responses import Refusal, error

__all__ = ["MAX_MESSAGES", "ack_id", "read_deliveries", "read_messages"]

MAX_MESSAGES = 1000
"""How many messages are published or delivered at once."""


def read_messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a request to publish.

    Raises
    ------
    Refusal
        400 for no messages or more than 1000, or for one that is none.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise Refusal(error(400, f"messages has to hold 1 to {MAX_MESSAGES} messages."))
    return [_message(message) for message in messages]


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise Refusal(error(400, "A message has to be an object."))
    data, attributes = message.get("data") or "", message.get("attributes") or {}
    if not isinstance(attributes, dict) or not all(isinstance(v, str) for v in attributes.values()):
        raise Refusal(error(400, "The attributes of a message have to be texts."))
    try:
        base64.b64decode(data, validate=True)
    except (TypeError, ValueError):
        raise Refusal(error(400, "The data of a message have to be base64.")) from None
    if not data and not attributes:
        raise Refusal(error(400, "A message needs data or attributes."))
    key = message.get("orderingKey") or ""
    if not isinstance(key, str) or len(key.encode()) > 1024:
        raise Refusal(error(400, "The ordering key of a message is too long, or no text."))
    given = {"data": data, "attributes": attributes, "orderingKey": key}
    return {field: value for field, value in given.items() if value}


def ack_id(row: int, attempt: int) -> str:
    """Return the name of a delivery, by which it is acknowledged.

    Parameters
    ----------
    row : int
        Of the message.
    attempt : int
        How often it was delivered, this time included.
    """
    return base64.urlsafe_b64encode(f"{row}.{attempt}".encode()).decode()


def read_deliveries(body: dict[str, Any]) -> list[tuple[int, int]]:
    """Return row and attempt of each delivery that a request names.

    Raises
    ------
    Refusal
        400 when it names none, or one that :func:`ack_id` did not make.
    """
    ids = body.get("ackIds")
    if not isinstance(ids, list) or not ids:
        raise Refusal(error(400, "No ack ids specified."))
    try:
        texts = [base64.urlsafe_b64decode(name).decode("ascii") for name in ids]
        pairs = [(int(row), int(attempt)) for row, attempt in (t.split(".") for t in texts)]
    except (TypeError, ValueError):
        pairs = [(-1, 0)]
    if not all(0 < row < 2**63 and 0 < attempt < 2**63 for row, attempt in pairs):
        raise Refusal(error(400, "You have passed an invalid ack ID to the service."))
    return pairs
