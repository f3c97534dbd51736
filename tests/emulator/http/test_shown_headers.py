"""Headers as people see them: whole where they are harmless, never with a secret."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.http.shown_headers import shown_headers

SECRET = b"ya29.secret"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        (b"Accept", b'multipart/related; type="a/b"', 'multipart/related; type="a/b"'),
        (b"user-agent", b"curl/8\xe9", "curl/8é"),
        (b"Authorization", b"Bearer ya29.secret", "Bearer …"),
        (b"authorization", b"bearer ya29.secret", "bearer …"),
        (b"authorization", SECRET, "…"),
        (b"authorization", b"ya29.secret more", "…"),
        (b"authorization", b"Bearer", "Bearer …"),
        (b"proxy-authorization", b"Basic ya29.secret", "Basic …"),
        (b"Cookie", SECRET, "… (11 bytes)"),
        (b"set-cookie", SECRET, "… (11 bytes)"),
        (b"x-goog-iam-authorization-token", SECRET, "… (11 bytes)"),
        (b"x-api-key", SECRET, "… (11 bytes)"),
        (b"content-disposition", b'filename="ya29.secret"', "… (22 bytes)"),
        (b"referer", b"http://h/p?access_token=ya29.secret", "http://h/p?…"),
        (b"Location", b"/p#ya29.secret", "/p"),
        (b"location", b"/p?a#ya29.secret", "/p?…"),
        (b"content-location", b"/p", "/p"),
        (b"", SECRET, "… (11 bytes)"),
    ],
)
def test_what_is_shown_of_a_header(name: bytes, value: bytes, shown: str) -> None:
    assert shown_headers([(name, value)]) == [(name.decode(), shown)]


def test_what_is_shown_is_bounded() -> None:
    (name, value), *_ = shown = shown_headers(
        [(b"x" * 5000, b"y"), *[(b"date", b"z" * 5000)] * 150]
    )
    assert len(name) == 301
    assert value == "… (1 bytes)"
    assert len(shown) == 101
    assert shown[-1] == ("…", "51 more")
    assert all(len(value) <= 301 for _, value in shown)
