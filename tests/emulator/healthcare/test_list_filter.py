"""Filters of lists: comparisons, and how they are joined."""

from __future__ import annotations

import pytest

from tests.emulator.client import STORE, Client

DATASET = STORE.partition("/dicomStores/")[0]


@pytest.mark.parametrize("text", ["done", "done=", "=true", "a = b c", 'a="b', "NOT", "a=b AND"])
def test_filters_that_cannot_be_understood(client: Client, text: str) -> None:
    answer = client.get(f"{client.url}/v1/{DATASET}/operations", filter=text)
    assert (answer.status, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
