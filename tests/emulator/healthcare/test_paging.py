"""Pages of results, with a filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from orthanc_gcp.emulator.healthcare.paging import result_page
from orthanc_gcp.emulator.http.responses import Refusal

NAMES = ["a", "b", "c", "d"]


def page(**query: str) -> dict[str, Any]:
    scope = {"type": "http", "query_string": urlencode(query).encode(), "headers": []}

    def find(after: str) -> Iterator[dict[str, Any]]:
        return ({"name": name} for name in NAMES if name > after)

    return result_page(Request(scope), "things", find)


def names(found: dict[str, Any]) -> list[str]:
    return [resource["name"] for resource in found.get("things", [])]


def test_everything_on_one_page() -> None:
    assert names(page()) == NAMES
    assert "nextPageToken" not in page()
    assert "nextPageToken" not in page(pageSize="4")


def test_page_after_page() -> None:
    first = page(pageSize="3")
    assert names(first) == NAMES[:3]
    assert first["nextPageToken"] == "c"
    assert page(pageSize="3", pageToken="c") == {"things": [{"name": "d"}]}


def test_a_page_of_nothing_is_empty() -> None:
    assert page(pageToken="d") == {}


def test_pages_of_what_a_filter_leaves() -> None:
    first = page(pageSize="1", filter="name = b OR name = d")
    assert (names(first), first["nextPageToken"]) == (["b"], "b")
    assert names(page(pageToken="b", filter="name = b OR name = d")) == ["d"]


@pytest.mark.parametrize("query", [{"filter": "name"}, {"pageSize": "x"}, {"pageSize": "-1"}])
def test_what_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        page(**query)
    assert refused.value.response.status_code == 400
