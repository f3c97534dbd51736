"""Names and lists of topics and subscriptions."""

from __future__ import annotations

from typing import Any

from tests.emulator.pubsub.project import Project


def topics_of(project: Project, query: str) -> tuple[list[str], str]:
    """Return the topics on one page of a list, and the token of the next one."""
    answer: dict[str, Any] = project.expect("GET", f"{project.name}/topics?{query}")
    names = [topic["name"].rpartition("/")[2] for topic in answer.get("topics", [])]
    return names, answer.get("nextPageToken", "")


def test_a_list_in_pages(project: Project) -> None:
    for name in ("cat", "ant", "bee"):
        project.expect("PUT", f"{project.name}/topics/{name}", {})
    first, token = topics_of(project, "pageSize=2")
    assert first == ["ant", "bee"]
    assert topics_of(project, f"pageSize=2&pageToken={token}") == (["cat"], "")
    assert topics_of(project, "pageSize=3") == (["ant", "bee", "cat"], "")


def test_an_empty_list_lacks_the_field(project: Project) -> None:
    assert project.expect("GET", f"{project.name}/topics") == {}


def test_a_size_of_pages_that_cannot_be(project: Project) -> None:
    project.refuse("GET", "topics?pageSize=-1", None, 400)


def test_words_about_names(project: Project) -> None:
    _, missing = project.call("GET", project.topic)
    assert missing["error"]["message"] == "Resource not found (resource=images)."
    project.set_up()
    _, taken = project.call("PUT", project.topic, {})
    assert taken["error"]["message"].endswith("(resource=images).")
    _, wrong = project.call("PUT", f"{project.name}/topics/x", {})
    assert wrong["error"]["message"] == f"Invalid [topics] name: (name={project.name}/topics/x)"
