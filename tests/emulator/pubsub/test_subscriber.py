"""Subscriptions, and messages until they are acknowledged."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3

from orthanc_gcp.emulator.pubsub import subscriber
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.conftest import Clock
from tests.emulator.pubsub.project import Project, texts


def test_subscriptions(project: Project) -> None:
    project.expect("PUT", project.topic)
    made = project.expect("PUT", project.subscription, {"topic": project.topic})
    assert made == {
        "name": project.subscription,
        "topic": project.topic,
        "pushConfig": {},
        "ackDeadlineSeconds": 10,
        "messageRetentionDuration": "604800s",
        "state": "ACTIVE",
    }
    assert project.expect("GET", project.subscription) == made
    assert project.expect("GET", f"{project.name}/subscriptions") == {"subscriptions": [made]}
    of_topic = project.expect("GET", f"{project.topic}/subscriptions")
    assert of_topic == {"subscriptions": [project.subscription]}
    project.publish("a")
    project.expect("DELETE", project.topic)
    assert project.expect("GET", project.subscription)["topic"] == "_deleted-topic_"
    assert texts(project.pull()) == ["a"]
    assert project.expect("DELETE", project.subscription) == {}
    assert project.call("POST", f"{project.subscription}:pull", {"maxMessages": 1})[0] == 404


def test_it_comes_again_until_it_is_acknowledged(own_project: Project, clock: Clock) -> None:
    project = own_project.set_up(ackDeadlineSeconds=20)
    project.publish("a", "b")
    first = project.pull()
    project.acknowledge(first[:1])
    clock.offset += 15
    assert project.pull() == []
    clock.offset += 10
    (again,) = project.pull()
    assert texts([again]) == ["b"]
    assert "deliveryAttempt" not in again, "which is counted for dead letters only"
    assert again["ackId"] != first[1]["ackId"]
    project.acknowledge([again])
    clock.offset += 1000
    assert project.pull() == []


def test_the_deadline_can_be_changed(own_project: Project, clock: Clock) -> None:
    project = own_project.set_up()
    project.publish("a")

    def modify(received: list[dict[str, Any]], seconds: int) -> None:
        body = {"ackIds": [m["ackId"] for m in received], "ackDeadlineSeconds": seconds}
        assert project.expect("POST", f"{project.subscription}:modifyAckDeadline", body) == {}

    first = project.pull()
    modify(first, 100)
    clock.offset += 50
    assert project.pull() == []
    modify(first, 0)
    second = project.pull()
    assert texts(second) == ["a"]
    modify(first, 0)
    assert project.pull() == [], "the first delivery has nothing to say any more"
    project.acknowledge(first)
    clock.offset += 50
    assert project.pull() == [], "but whoever got it first may acknowledge late"


def test_dead_letters(own_project: Project, clock: Clock) -> None:
    project = own_project
    policy = {"deadLetterTopic": f"{project.name}/topics/dead", "maxDeliveryAttempts": 5}
    project.set_up(deadLetterPolicy=policy)
    dead = f"{project.name}/subscriptions/dead"
    project.publish("a")
    for attempt in range(1, 6):
        assert [one["deliveryAttempt"] for one in project.pull()] == [attempt]
        clock.offset += 20
    assert [one["deliveryAttempt"] for one in project.pull()] == [6], "there is no such topic"
    project.expect("PUT", f"{project.name}/topics/dead", {})
    project.expect("PUT", dead, {"topic": f"{project.name}/topics/dead"})
    clock.offset += 20
    assert project.pull() == []
    project.subscription = dead
    assert texts(project.pull()) == ["a"]


def test_who_may_consume(own_project: Project, emulator: Emulator) -> None:
    project = own_project.set_up()
    consume = "pubsub.subscriptions.consume"
    ask = {"permissions": [consume]}
    path = f"{project.subscription}:testIamPermissions"
    assert project.expect("POST", path, ask) == ask
    assert (
        project.expect("POST", f"{project.name}/subscriptions/none:testIamPermissions", ask) == {}
    )
    project.refuse("POST", "subscriptions/worker:testIamPermissions", {"permissions": [1]}, 400)
    emulator.fault_settings.change(deniedPermissions=[consume])
    assert project.expect("POST", path, ask) == {}
    project.refuse("POST", "subscriptions/worker:pull", {"maxMessages": 1}, 403)


def test_old_messages_go(own_project: Project, clock: Clock) -> None:
    project = own_project.set_up(messageRetentionDuration="600s")
    project.publish("a")
    clock.offset += 601
    assert project.pull() == []
    project.publish("b")
    assert texts(project.pull()) == ["b"]


def test_what_is_delivered_at_once_is_bounded(project: Project) -> None:
    project.set_up()
    for _ in range(3):
        project.publish("x" * 4_500_000)
    assert len(project.pull()) == 1
    assert len(project.pull()) == 1


def test_a_pull_waits_for_a_message(project: Project) -> None:
    project.set_up()
    publisher = Project(project.client, project.name.partition("/")[2])
    pool = ThreadPoolExecutor(1)
    body = {"maxMessages": 5}
    waiting = pool.submit(project.expect, "POST", f"{project.subscription}:pull", body)
    publisher.publish("a")
    assert texts(waiting.result()["receivedMessages"]) == ["a"]
    pool.shutdown()


def test_a_pull_does_not_wait_for_ever(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "MAX_PULL", 0.2)
    project.set_up()
    assert project.expect("POST", f"{project.subscription}:pull", {"maxMessages": 1}) == {}


def test_whoever_has_left_is_given_nothing(project: Project) -> None:
    project.set_up()
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        project.client.pool.request(
            "POST",
            f"{project.client.url}/v1/{project.subscription}:pull",
            json={"maxMessages": 5},
            headers={"Authorization": f"Bearer {project.client.token}"},
            timeout=0.3,
        )
    # Whether the other pull has noticed by now or not, it would not take this message.
    body = {"maxMessages": 5}
    pool = ThreadPoolExecutor(1)
    waiting = pool.submit(project.expect, "POST", f"{project.subscription}:pull", body)
    time.sleep(0.3)
    project.publish("a")
    assert texts(waiting.result()["receivedMessages"]) == ["a"]
    pool.shutdown()


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("POST", "subscriptions/worker:pull", {}, 400),
        ("POST", "subscriptions/worker:pull", {"maxMessages": 0}, 400),
        (
            "POST",
            "subscriptions/worker:modifyAckDeadline",
            {"ackIds": ["MS4x"], "ackDeadlineSeconds": 601},
            400,
        ),
    ],
)
def test_what_is_refused(project: Project, verb: str, path: str, body: Any, status: int) -> None:
    project.set_up().refuse(verb, path, body, status)
