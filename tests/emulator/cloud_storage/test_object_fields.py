"""What a client can say of an object."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_gcp.emulator.cloud_storage.object_fields import patched, read_fields, read_json
from orthanc_gcp.emulator.http.responses import Refusal


def test_only_what_can_be_set() -> None:
    given = {
        "contentType": "a/b",
        "metadata": {"k": "é\n"},
        "cacheControl": None,
        "md5Hash": "x",
        "bucket": 7,
    }
    assert read_fields(given) == {"contentType": "a/b", "metadata": {"k": "é\n"}}


@pytest.mark.parametrize(
    "given",
    [
        {"contentType": 7},
        {"contentType": ["a"]},
        {"contentType": "é"},
        {"contentType": "a\r\nX: y"},
        {"contentDisposition": "x" * 1025},
        {"cacheControl": "\x7f"},
        {"metadata": []},
        {"metadata": "x"},
        {"metadata": {"k": 1}},
        {"metadata": {"k": None}},
        {"metadata": {"k": {}}},
    ],
)
def test_values_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        read_fields(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"contentType": "a/b", "metadata": {"k": "v"}}),
        ({"contentType": "c/d"}, {"contentType": "c/d", "metadata": {"k": "v"}}),
        ({"contentType": None}, {"metadata": {"k": "v"}}),
        ({"metadata": None}, {"contentType": "a/b"}),
        ({"metadata": {"k": None}}, {"contentType": "a/b", "metadata": {}}),
        ({"metadata": {"l": "w"}}, {"contentType": "a/b", "metadata": {"k": "v", "l": "w"}}),
    ],
)
def test_a_patch(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert patched({"contentType": "a/b", "metadata": {"k": "v"}}, given) == expected


@pytest.mark.parametrize("body", [b"[]", b"x", b'"a"', b"\xff", b'{"a": "\\ud800"}', b"[" * 10**5])
def test_bodies_that_are_no_object(body: bytes) -> None:
    with pytest.raises(Refusal):
        read_json(body)
    assert read_json(b"") == {}
