"""Pub/Sub as a whole: what there is not, who is let in, a restart, Google's own library."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import pytest
from google.oauth2 import service_account
from googleapiclient.discovery import build

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client
from tests.emulator.pubsub.project import PUBSUB, Project, texts, with_scope


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
