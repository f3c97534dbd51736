"""Subscriptions of Pub/Sub: what a client may ask of one.

Source: Pub/Sub REST reference, type ``Subscription``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from orthanc_gcp.emulator.http.responses import Refusal, error

__all__ = ["SUBSCRIPTION_NAME", "Subscription", "read_subscription", "unsupported"]

SUBSCRIPTION_NAME = re.compile(
    r"projects/[^/:]+/subscriptions/(?!goog)[A-Za-z][\w.~+%-]{2,254}", re.ASCII
)
WEEK = 604_800.0
DEFAULT_DEADLINE = 10
_RETENTION = (600.0, 2_678_400.0)
_DEADLINE = (10, 600)
_DURATION = re.compile(r"(?P<seconds>\d{1,9}(\.\d{1,9})?)s")
_FIELDS = frozenset(
    {"name", "topic", "labels", "ackDeadlineSeconds", "messageRetentionDuration"}
    | {"expirationPolicy", "pushConfig", "deadLetterPolicy"}
)
_DELIVERY_ATTEMPTS = (5, 100)


class Subscription(NamedTuple):
    """A subscription.

    Attributes
    ----------
    topic : str
        The name of its topic.
    retention : float
        How many seconds a message waits that nobody acknowledges.
    body : dict
        Its resource in JSON.
    row : int
        In the table of subscriptions; 0 before it is there.
    """

    topic: str
    retention: float
    body: dict[str, Any]
    row: int = 0

    @property
    def ack_deadline(self) -> int:
        """How many seconds a subscriber has to acknowledge a message."""
        return int(self.body["ackDeadlineSeconds"])

    @property
    def dead_letter_topic(self) -> str:
        """Where a message goes that nobody acknowledges; empty for nowhere."""
        return str(self.body.get("deadLetterPolicy", {}).get("deadLetterTopic", ""))

    @property
    def max_delivery_attempts(self) -> int:
        """After how many deliveries it goes there."""
        return int(self.body["deadLetterPolicy"]["maxDeliveryAttempts"])


def read_subscription(body: dict[str, Any], name: str) -> Subscription:
    """Return the subscription that a client asks for.

    Raises
    ------
    Refusal
        400 for values that Google does not take, 501 for what the emulator would have to ignore.
    """
    unknown = {field for field, value in body.items() if value and field not in _FIELDS}
    if body.get("pushConfig"):
        unknown.add("pushConfig")
    if unknown:
        raise unsupported(unknown)
    topic = body.get("topic")
    if not isinstance(topic, str) or not topic:
        raise Refusal(error(400, "A subscription needs a topic."))
    deadline = body.get("ackDeadlineSeconds") or DEFAULT_DEADLINE
    low, high = _DEADLINE
    if not isinstance(deadline, int) or not low <= deadline <= high:
        raise Refusal(error(400, f"ack_deadline_seconds has to be between {low} and {high}."))
    duration = body.get("messageRetentionDuration") or f"{WEEK:.0f}s"
    given: dict[str, Any] = {f: body[f] for f in ("labels", "expirationPolicy") if f in body}
    if body.get("deadLetterPolicy"):
        given["deadLetterPolicy"] = _dead_letter_policy(body["deadLetterPolicy"])
    resource: dict[str, Any] = {
        "name": name,
        "topic": topic,
        "pushConfig": {},
        "ackDeadlineSeconds": deadline,
        "messageRetentionDuration": duration,
        "state": "ACTIVE",
        **given,
    }
    return Subscription(topic, _retention(duration), resource)


def unsupported(fields: Collection[str]) -> Refusal:
    """Return the refusal of what the emulator would have to ignore."""
    names = ", ".join(sorted(fields))
    return Refusal(error(501, f"The emulator does not support {names}.", name="UNIMPLEMENTED"))


def _dead_letter_policy(policy: Any) -> dict[str, Any]:
    given = policy if isinstance(policy, dict) else {}
    topic, attempts = given.get("deadLetterTopic"), given.get("maxDeliveryAttempts") or 5
    low, high = _DELIVERY_ATTEMPTS
    if not isinstance(topic, str) or not topic:
        raise Refusal(error(400, "A policy for dead letters needs a topic."))
    if not isinstance(attempts, int) or not low <= attempts <= high:
        raise Refusal(error(400, f"max_delivery_attempts has to be between {low} and {high}."))
    return {"deadLetterTopic": topic, "maxDeliveryAttempts": attempts}


def _retention(duration: Any) -> float:
    match = _DURATION.fullmatch(str(duration))
    low, high = _RETENTION
    seconds = float(match["seconds"]) if match else 0.0
    if not low <= seconds <= high:
        raise Refusal(
            error(400, f"message_retention_duration has to be between {low:.0f}s and {high:.0f}s.")
        )
    return seconds
