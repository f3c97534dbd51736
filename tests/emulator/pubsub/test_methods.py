"""Pub/Sub: topics, subscriptions, and messages until they are acknowledged."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google.auth.transport.urllib3
import pytest
import urllib3
from google.oauth2 import service_account
from googleapiclient.discovery import build

from orthanc_gcp.emulator.pubsub import methods
from orthanc_gcp.emulator.server import Emulator, Options
from orthanc_gcp.emulator.storage import message_tables
from tests.emulator.client import Client
from tests.emulator.conftest import Clock

PUBSUB = "https://www.googleapis.com/auth/pubsub"


def with_scope(client: Client, credentials: Path, scope: str = PUBSUB) -> Client:
    """Let a client act with a token of this scope."""
    signer = service_account.Credentials.from_service_account_file(
        str(credentials / "service-account.json"), scopes=[scope]
    )
    signer.refresh(google.auth.transport.urllib3.Request(client.pool))
    client.token = str(signer.token)
    return client


class Project:
    """A project's Pub/Sub; another one for each test."""

    def __init__(self, client: Client, name: str = "") -> None:
        self.client = client
        self.name = f"projects/{name or 'p' + secrets.token_hex(4)}"
        self.topic = f"{self.name}/topics/images"
        self.subscription = f"{self.name}/subscriptions/worker"

    def call(self, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body)
        response = self.client.request(verb, f"{self.client.url}/v1/{path}", sent)
        return response.status, response.json()

    def expect(self, verb: str, path: str, body: Any = None) -> Any:
        status, answer = self.call(verb, path, body)
        assert status == 200, answer
        return answer

    def set_up(self, **subscription: Any) -> Project:
        self.expect("PUT", self.topic, {})
        self.expect("PUT", self.subscription, {"topic": self.topic, **subscription})
        return self

    def publish(self, *texts: str) -> list[str]:
        messages = [{"data": base64.b64encode(text.encode()).decode()} for text in texts]
        ids: list[str] = self.expect("POST", f"{self.topic}:publish", {"messages": messages})[
            "messageIds"
        ]
        return ids

    def pull(self, limit: int = 10) -> list[dict[str, Any]]:
        """Return what can be had at once."""
        body = {"maxMessages": limit, "returnImmediately": True}
        answer = self.expect("POST", f"{self.subscription}:pull", body)
        found: list[dict[str, Any]] = answer.get("receivedMessages", [])
        return found

    def acknowledge(self, received: list[dict[str, Any]]) -> None:
        ids = [message["ackId"] for message in received]
        assert self.expect("POST", f"{self.subscription}:acknowledge", {"ackIds": ids}) == {}


def texts(received: list[dict[str, Any]]) -> list[str]:
    return [base64.b64decode(entry["message"]["data"]).decode() for entry in received]


@pytest.fixture
def project(client: Client, shared_folder: Path) -> Project:
    return Project(with_scope(client, shared_folder))


@pytest.fixture
def own_project(own_client: Client, credentials: Path) -> Project:
    return Project(with_scope(own_client, credentials))


def test_topics(project: Project) -> None:
    assert project.expect("GET", f"{project.name}/topics") == {}
    made = project.expect("PUT", project.topic, {"labels": {"a": "b"}})
    assert made == {"name": project.topic, "labels": {"a": "b"}}
    assert project.expect("GET", project.topic) == made
    other = f"{project.name}/topics/other"
    project.expect("PUT", other)
    page = project.expect("GET", f"{project.name}/topics?pageSize=1")
    assert page["topics"] == [made]
    following = f"{project.name}/topics?pageToken={page['nextPageToken']}"
    assert project.expect("GET", following) == {"topics": [{"name": other}]}
    assert project.expect("DELETE", other) == {}
    assert project.call("GET", other)[0] == 404


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


def test_what_there_is_not_and_what_there_is_already(project: Project) -> None:
    status, answer = project.call("GET", project.topic)
    assert (status, answer["error"]["status"]) == (404, "NOT_FOUND")
    assert "resource=images" in answer["error"]["message"]
    message = {"messages": [{"data": "AAAA"}]}
    ids = {"ackIds": ["MS4x"]}
    for verb, path, body in (
        ("DELETE", project.topic, None),
        ("GET", f"{project.topic}/subscriptions", None),
        ("POST", f"{project.topic}:publish", message),
        ("PUT", project.subscription, {"topic": project.topic}),
        ("GET", project.subscription, None),
        ("DELETE", project.subscription, None),
        ("POST", f"{project.subscription}:pull", {"maxMessages": 1}),
        ("POST", f"{project.subscription}:acknowledge", ids),
        ("POST", f"{project.subscription}:modifyAckDeadline", {**ids, "ackDeadlineSeconds": 1}),
    ):
        assert project.call(verb, path, body)[0] == 404, path
    project.set_up()
    for path, body in ((project.topic, {}), (project.subscription, {"topic": project.topic})):
        status, answer = project.call("PUT", path, body)
        assert (status, answer["error"]["status"]) == (409, "ALREADY_EXISTS")


def test_a_message(project: Project, shared_emulator: Emulator) -> None:
    project.set_up()
    message = {"data": "YWJj", "attributes": {"x": "y"}, "orderingKey": "k"}
    body = {"messages": [message, {"attributes": {"n": "2"}}]}
    first, second = project.expect("POST", f"{project.topic}:publish", body)["messageIds"]
    received = project.pull()
    assert [entry["message"]["messageId"] for entry in received] == [first, second]
    assert received[0]["message"].pop("publishTime").endswith("Z")
    assert received[0]["message"] == {**message, "messageId": first}
    assert received[0]["deliveryAttempt"] == 1
    assert project.pull() == []
    project.acknowledge(received)


def test_every_subscription_gets_it(project: Project) -> None:
    project.set_up()
    other = Project(project.client, project.name.partition("/")[2])
    other.subscription += "2"
    other.expect("PUT", other.subscription, {"topic": project.topic})
    project.publish("a", "b", "c")
    assert texts(project.pull(2)) == ["a", "b"]
    assert texts(project.pull(2)) == ["c"]
    assert texts(other.pull()) == ["a", "b", "c"]


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
    assert again["deliveryAttempt"] == 2
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
    assert [message["deliveryAttempt"] for message in second] == [2]
    modify(first, 0)
    assert project.pull() == [], "the first delivery has nothing to say any more"
    project.acknowledge(first)
    clock.offset += 50
    assert project.pull() == [], "but whoever got it first may acknowledge late"


def test_old_messages_go(own_project: Project, clock: Clock) -> None:
    project = own_project.set_up(messageRetentionDuration="600s")
    project.publish("a")
    clock.offset += 601
    assert project.pull() == []
    project.publish("b")
    assert texts(project.pull()) == ["b"]


def test_the_number_of_messages_is_bounded(
    own_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_tables, "MAX_WAITING", 3)
    project = own_project.set_up()
    project.publish("a", "b", "c", "d")
    project.publish("e")
    assert texts(project.pull()) == ["c", "d", "e"]


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
    monkeypatch.setattr(methods, "MAX_PULL", 0.2)
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
        ("PUT", "topics/x", {}, 400),
        ("PUT", "topics/goog-topic", {}, 400),
        ("PUT", "topics/1st", {}, 400),
        ("PUT", "topics/abc", {"schemaSettings": {"schema": "s"}}, 501),
        ("PUT", "topics/abc", [], 400),
        ("PUT", "subscriptions/x", {"topic": "T"}, 400),
        ("PUT", "subscriptions/abc", {}, 400),
        ("PUT", "subscriptions/abc", {"topic": "T", "ackDeadlineSeconds": 5}, 400),
        ("PUT", "subscriptions/abc", {"topic": "T", "messageRetentionDuration": "5s"}, 400),
        ("PUT", "subscriptions/abc", {"topic": "T", "filter": "attributes.a"}, 501),
        ("PUT", "subscriptions/abc", {"topic": "T", "enableMessageOrdering": True}, 501),
        ("PUT", "subscriptions/abc", {"topic": "T", "pushConfig": {"pushEndpoint": "u"}}, 501),
        ("POST", "topics/images:publish", {}, 400),
        ("POST", "topics/images:publish", {"messages": [{}]}, 400),
        ("POST", "topics/images:publish", {"messages": ["a"]}, 400),
        ("POST", "topics/images:publish", {"messages": [{"data": "%"}]}, 400),
        ("POST", "topics/images:publish", {"messages": [{"data": 1}]}, 400),
        ("POST", "topics/images:publish", {"messages": [{"attributes": {"a": 1}}]}, 400),
        ("POST", "topics/images:publish", {"messages": [{"data": "AAAA"}] * 1001}, 400),
        ("POST", "topics/images:publish", {"messages": [{"data": "AA==", "orderingKey": 1}]}, 400),
        ("POST", "subscriptions/worker:pull", {}, 400),
        ("POST", "subscriptions/worker:pull", {"maxMessages": 0}, 400),
        ("POST", "subscriptions/worker:acknowledge", {}, 400),
        ("POST", "subscriptions/worker:acknowledge", {"ackIds": ["nonsense"]}, 400),
        ("POST", "subscriptions/worker:acknowledge", {"ackIds": [1]}, 400),
        ("POST", "subscriptions/worker:acknowledge", {"ackIds": ["LTEuMQ=="]}, 400),
        (
            "POST",
            "subscriptions/worker:modifyAckDeadline",
            {"ackIds": ["MS4x"], "ackDeadlineSeconds": 601},
            400,
        ),
        ("GET", "topics?pageSize=-1", None, 400),
    ],
)
def test_what_is_refused(project: Project, verb: str, path: str, body: Any, status: int) -> None:
    project.set_up()
    answered, answer = project.call(verb, f"{project.name}/{path}", body)
    assert answered == status
    assert answer["error"]["code"] == status


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "topics/images"),
        ("PATCH", "subscriptions/worker"),
        ("POST", "subscriptions/worker:seek"),
        ("GET", "snapshots"),
    ],
)
def test_what_is_not_served_is_a_page(project: Project, verb: str, path: str) -> None:
    url = f"{project.client.url}/v1/{project.name}/{path}"
    response = project.client.request(verb, url, b"{}")
    assert (response.status, response.headers["content-type"]) == (404, "text/html; charset=UTF-8")


def test_who_gets_in(emulator: Emulator, own_project: Project, credentials: Path) -> None:
    client = own_project.client
    url = f"{client.url}/v1/{own_project.name}/topics"
    response = client.pool.request("GET", url)
    assert response.status == 401
    (info,) = response.json()["error"]["details"]
    assert info["metadata"] == {
        "service": "pubsub.googleapis.com",
        "method": "google.pubsub.v1.Publisher.ListTopics",
    }
    with_scope(client, credentials, "https://www.googleapis.com/auth/cloud-platform")
    assert client.request("GET", url).status == 200
    with_scope(client, credentials, "https://www.googleapis.com/auth/cloud-healthcare")
    response = client.request("GET", url)
    assert response.status == 403
    assert PUBSUB in response.headers["www-authenticate"]
    with_scope(client, credentials)
    account = emulator.identities.service_accounts[0].email
    emulator.fault_settings.change(strangers=[account])
    assert client.request("GET", url).status == 403


def test_a_restart(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    with Emulator(options) as emulator:
        client = with_scope(Client(emulator.url, tmp_path), tmp_path)
        project = Project(client).set_up()
        project.publish("a", "b")
        project.acknowledge(project.pull(1))
        client.pool.clear()
    with Emulator(options) as emulator:
        client = with_scope(Client(emulator.url, tmp_path), tmp_path)
        project = Project(client, project.name.partition("/")[2])
        assert texts(project.pull()) == ["b"]
        client.pool.clear()


def test_the_library_of_google(shared_emulator: Emulator, shared_folder: Path) -> None:
    credentials = service_account.Credentials.from_service_account_file(
        str(shared_folder / "service-account.json")
    )
    service = build(
        "pubsub",
        "v1",
        credentials=credentials,
        static_discovery=True,
        client_options={"api_endpoint": shared_emulator.url},
    )
    project = f"projects/{secrets.token_hex(4)}"
    topic, subscription = f"{project}/topics/abc", f"{project}/subscriptions/def"
    topics, subscriptions = service.projects().topics(), service.projects().subscriptions()
    assert topics.create(name=topic, body={}).execute() == {"name": topic}
    subscriptions.create(name=subscription, body={"topic": topic}).execute()
    published = topics.publish(topic=topic, body={"messages": [{"data": "YWJj"}]}).execute()
    pull = subscriptions.pull(subscription=subscription, body={"maxMessages": 1})
    (received,) = pull.execute()["receivedMessages"]
    assert [received["message"]["messageId"]] == published["messageIds"]
    body = {"ackIds": [received["ackId"]]}
    assert subscriptions.acknowledge(subscription=subscription, body=body).execute() == {}
    listed = topics.subscriptions().list(topic=topic).execute()
    assert listed == {"subscriptions": [subscription]}
    assert subscriptions.delete(subscription=subscription).execute() == {}
    assert topics.delete(topic=topic).execute() == {}
    assert topics.list(project=project).execute() == {}
    service.close()
