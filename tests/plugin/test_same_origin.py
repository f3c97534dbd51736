"""Requests that a page of another origin made somebody's browser send."""

from __future__ import annotations

import pytest

from orthanc_gcp.plugin.same_origin import is_foreign


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:8042"},
        {"host": "localhost:8042", "origin": "http://localhost:8042"},
        {"host": "Orthanc.example", "origin": "https://orthanc.example"},
        {"host": "orthanc.example:443", "origin": "https://orthanc.example"},
        {"host": "[::1]:8042", "origin": "http://[::1]:8042"},
        {
            "host": "orthanc:8042",
            "x-forwarded-host": "pacs.example",
            "origin": "https://pacs.example",
        },
        {
            "host": "orthanc:8042",
            "x-forwarded-host": "pacs.example, proxy-2.example,",
            "origin": "https://pacs.example",
        },
        {"host": "orthanc:8042", "origin": "https://pacs.example", "sec-fetch-site": "same-origin"},
        {"host": "localhost:8042", "sec-fetch-site": "none"},
    ],
)
def test_programs_and_own_pages(headers: dict[str, str]) -> None:
    assert not is_foreign(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8042", "origin": "https://attacker.example"},
        {"host": "localhost:8042", "origin": "null"},
        {"host": "localhost:8042", "origin": "http://localhost:3000"},
        {"host": "localhost:8042", "origin": "http://localhost:8042.attacker.example"},
        {"host": "localhost:8042", "origin": "http://localhost:99999"},
        {"host": "localhost:8042", "origin": "http://[localhost:8042"},
        {"origin": "https://attacker.example"},
        {"host": "", "x-forwarded-host": " , ", "origin": "https://"},
        {"host": "h", "x-forwarded-host": "a.example,b", "origin": "https://a.example,b"},
        {"host": "localhost:8042", "sec-fetch-site": "cross-site"},
        {"host": "localhost:8042", "sec-fetch-site": "same-site"},
        {"host": "localhost:8042", "sec-fetch-site": "anything"},
        {"host": "h", "origin": "https://attacker.example", "sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_others(headers: dict[str, str]) -> None:
    assert is_foreign(headers)
