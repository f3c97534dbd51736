"""Preconditions: what they are about, and when they hold."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_gcp.emulator.cloud_storage.preconditions import Preconditions
from orthanc_gcp.emulator.http.responses import Refusal
from tests.emulator.http.asgi import make_request

PRESENT, ABSENT = (7, 2), (0, 0)


@pytest.mark.parametrize(
    ("given", "present", "absent"),
    [
        ({}, True, True),
        ({"generation_match": 7}, True, False),
        ({"generation_match": 0}, False, True),
        ({"generation_match": 6}, False, False),
        ({"generation_not_match": 7}, False, True),
        ({"generation_not_match": 0}, True, False),
        ({"metageneration_match": 2}, True, False),
        ({"metageneration_not_match": 2}, False, True),
        ({"generation_match": 7, "metageneration_match": 1}, False, False),
    ],
)
def test_when_they_hold(given: dict[str, Any], present: bool, absent: bool) -> None:
    preconditions = Preconditions(**given)
    assert (preconditions.hold(*PRESENT), preconditions.hold(*ABSENT)) == (present, absent)


def test_the_parameters() -> None:
    query = "generation=1&ifGenerationMatch=2&ifGenerationNotMatch=3"
    query += "&ifMetagenerationMatch=4&ifMetagenerationNotMatch=5"
    assert Preconditions.of_request(make_request(query=query)) == Preconditions(1, 2, 3, 4, 5)
    assert Preconditions.of_request(make_request()) == Preconditions()


@pytest.mark.parametrize("value", ["", "x", "-1", "1.0", "9" * 20, "%D9%A3", "1%0A"])
def test_what_is_no_number(value: str) -> None:
    with pytest.raises(Refusal):
        Preconditions.of_request(make_request(query=f"ifGenerationMatch={value}"))
