"""Messages and deliveries, as requests bring them."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.pubsub.project import Project


def test_a_message(project: Project, shared_emulator: Emulator) -> None:
    project.set_up()
    message = {"data": "YWJj", "attributes": {"x": "y"}, "orderingKey": "k"}
    body = {"messages": [message, {"attributes": {"n": "2"}}]}
    first, second = project.expect("POST", f"{project.topic}:publish", body)["messageIds"]
    received = project.pull()
    assert [entry["message"]["messageId"] for entry in received] == [first, second]
    assert received[0]["message"].pop("publishTime").endswith("Z")
    assert received[0]["message"] == {**message, "messageId": first}
    assert project.pull() == []
    project.acknowledge(received)


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("POST", "topics/images:publish", {}, 400),
        ("POST", "topics/images:publish", {"messages": [{}]}, 400),
        ("POST", "topics/images:publish", {"messages": ["a"]}, 400),
        ("POST", "topics/images:publish", {"messages": [{"data": "%"}]}, 400),
        ("POST", "topics/images:publish", {"messages": [{"data": 1}]}, 400),
        ("POST", "topics/images:publish", {"messages": [{"attributes": {"a": 1}}]}, 400),
        ("POST", "topics/images:publish", {"messages": [{"data": "AAAA"}] * 1001}, 400),
        ("POST", "topics/images:publish", {"messages": [{"data": "AA==", "orderingKey": 1}]}, 400),
        ("POST", "subscriptions/worker:acknowledge", {}, 400),
        ("POST", "subscriptions/worker:acknowledge", {"ackIds": ["nonsense"]}, 400),
        ("POST", "subscriptions/worker:acknowledge", {"ackIds": [1]}, 400),
        ("POST", "subscriptions/worker:acknowledge", {"ackIds": ["LTEuMQ=="]}, 400),
    ],
)
def test_what_is_refused(project: Project, verb: str, path: str, body: Any, status: int) -> None:
    project.set_up().refuse(verb, path, body, status)
