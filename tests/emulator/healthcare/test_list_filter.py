"""Filters of lists: comparisons, and how they are joined."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.healthcare.list_filter import InvalidFilterError, parse_filter
from tests.emulator.client import STORE, Client

DATASET = STORE.partition("/dicomStores/")[0]


@pytest.mark.parametrize("text", ["done", "done=", "=true", "a = b c", 'a="b', "NOT", "a=b AND"])
def test_filters_that_cannot_be_understood(client: Client, text: str) -> None:
    answer = client.get(f"{client.url}/v1/{DATASET}/operations", filter=text)
    assert (answer.status, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


RESOURCE = {
    "name": "a/b",
    "done": True,
    "metadata": {"createTime": "2026-01-02", "counter": {"success": "3"}},
    "labels": {"a": 'quoted "text"'},
}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("name = a/b", True),
        ('name = "a/b"', True),
        ("name != a/b", False),
        ("name:b", True),
        ("name:c", False),
        ("name:*", True),
        ("nothing:*", False),
        ("nothing != a", False),
        ("name.more = a", False),
        ("done = true", True),
        ("metadata.createTime < 2026-01-03", True),
        ("metadata.createTime <= 2026-01-02", True),
        ("metadata.createTime > 2026-01-02", False),
        ("metadata.createTime >= 2026-01-02", True),
        ("metadata.counter = 3", False),
        ("NOT name = a/b", False),
        ("NOT NOT name = a/b", True),
        ("name = x OR done = true AND name = a/b", True),
        ("name = a/b OR name = x AND done = false", False),
        (r'labels.a = "quoted \"text\""', True),
    ],
)
def test_what_matches(text: str, matches: bool) -> None:
    assert parse_filter(text)(RESOURCE) is matches


@pytest.mark.parametrize(("times", "matches"), [(1, False), (2, True), (2399, False)])
def test_as_many_negations_as_somebody_likes(times: int, matches: bool) -> None:
    assert parse_filter("NOT " * times + "a = b")({"a": "b"}) is matches


def test_a_flag_that_is_absent_is_false() -> None:
    assert parse_filter("done = false")({})
    assert not parse_filter("other = false")({})


@pytest.mark.parametrize("text", ["done", "a = ", "NOT", "a=b AND", 'a="b', "a ! b", "x" * 10_001])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(InvalidFilterError):
        parse_filter(text)
