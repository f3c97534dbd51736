"""What a client may ask of a subscription."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.pubsub.project import Project


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("PUT", "subscriptions/x", {"topic": "T"}, 400),
        ("PUT", "subscriptions/abc", {}, 400),
        ("PUT", "subscriptions/abc", {"topic": "T", "ackDeadlineSeconds": 5}, 400),
        ("PUT", "subscriptions/abc", {"topic": "T", "messageRetentionDuration": "5s"}, 400),
        ("PUT", "subscriptions/abc", {"topic": "T", "deadLetterPolicy": {"x": 1}}, 400),
        ("PUT", "subscriptions/abc", {"topic": "T", "deadLetterPolicy": "topic"}, 400),
        (
            "PUT",
            "subscriptions/abc",
            {"topic": "T", "deadLetterPolicy": {"deadLetterTopic": "D", "maxDeliveryAttempts": 4}},
            400,
        ),
        ("PUT", "subscriptions/abc", {"topic": "T", "filter": "attributes.a"}, 501),
        ("PUT", "subscriptions/abc", {"topic": "T", "enableMessageOrdering": True}, 501),
        ("PUT", "subscriptions/abc", {"topic": "T", "pushConfig": {"pushEndpoint": "u"}}, 501),
    ],
)
def test_what_is_refused(project: Project, verb: str, path: str, body: Any, status: int) -> None:
    project.set_up().refuse(verb, path, body, status)
