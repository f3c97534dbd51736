"""Topics, and what is published to them."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_gcp.emulator.storage import message_tables
from tests.emulator.pubsub.project import Project, texts


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


def test_every_subscription_gets_it(project: Project) -> None:
    project.set_up()
    other = Project(project.client, project.name.partition("/")[2])
    other.subscription += "2"
    other.expect("PUT", other.subscription, {"topic": project.topic})
    project.publish("a", "b", "c")
    assert texts(project.pull(2)) == ["a", "b"]
    assert texts(project.pull(2)) == ["c"]
    assert texts(other.pull()) == ["a", "b", "c"]


def test_the_number_of_messages_is_bounded(
    own_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_tables, "MAX_WAITING", 3)
    project = own_project.set_up()
    project.publish("a", "b", "c", "d")
    project.publish("e")
    assert texts(project.pull()) == ["c", "d", "e"]


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("PUT", "topics/x", {}, 400),
        ("PUT", "topics/goog-topic", {}, 400),
        ("PUT", "topics/1st", {}, 400),
        ("PUT", "topics/abc", {"schemaSettings": {"schema": "s"}}, 501),
        ("PUT", "topics/abc", [], 400),
    ],
)
def test_what_is_refused(project: Project, verb: str, path: str, body: Any, status: int) -> None:
    project.set_up().refuse(verb, path, body, status)
