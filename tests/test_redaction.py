"""Texts that may be shown: addresses without user and password, whatever these hold."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.errors import GcpError
from orthanc_gcp.redaction import (
    address,
    bare,
    host_of,
    masked,
    masked_fields,
    masked_form,
    printable,
    readable,
    secrets_of_form,
)

UNREADABLE = "an address that cannot be read"


@given(st.text(st.sampled_from("xyzü@:/?#%[]\\ \n0123456789")))
def test_no_part_of_a_password_is_shown(password):
    url = f"http://user:{password}@host.example:80/path?query#fragment"
    shown = {UNREADABLE, "http://host.example:80/path", "http://host.example", "http://user"}
    assert printable(url) in shown
    assert host_of(url) in {UNREADABLE, "host.example:80", "host.example", "user"}
    try:
        found = address(url)
    except ValueError as error:
        assert "percent-encoded" in str(error)
        assert "xyz" not in str(error)
    else:
        assert repr(found) == (
            "Address(bare='http://host.example:80/path?query#fragment', user='user')"
        )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:8042/", "http://localhost:8042/"),
        ("https://[::1]:8042/orthanc", "https://[::1]:8042/orthanc"),
        ("postgresql://me:hush@one:1,two:2/db?password=hush", "postgresql://one:1,two:2/db"),
        ("postgresql:///db?host=/run", "postgresql:///db"),
        ("https://hooks.example/a/b@c", "https://hooks.example"),
        ("localhost", UNREADABLE),
        ("http://user:pass", UNREADABLE),
    ],
)
def test_what_is_shown(url, shown):
    assert printable(url) == shown


HOSTILE = "one\r\ntwo\x1b[31m\u202e\x00three" + " " * 5000 + "x" * 1_000_000


def test_one_bounded_line():
    shown = readable(HOSTILE)
    assert shown.startswith("one two [31m three xxx")
    assert (len(shown), shown[-1], shown.isprintable()) == (300, "…", True)


@given(st.text(), st.lists(st.text()))
def test_any_text_is_one_line(text, secrets):
    shown = readable(text, secrets)
    assert len(shown) <= 300
    assert shown.isprintable()


@pytest.mark.parametrize(
    "secret",
    [
        "ya29.a0AfB_byC-secret",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.secret-signature",
        "1//0gsecret-refresh-token",
        "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----secret",
    ],
)
def test_what_looks_like_a_secret_is_masked(secret):
    assert readable(f"refused: '{secret}'").startswith("refused: '(masked)")
    assert "secret" not in readable(" " * 8990 + secret)


@pytest.mark.parametrize("text", ["eyJ" * 300_000, "ya29" * 300_000, "-----BEGIN " * 90_000])
def test_a_long_text_takes_no_time(text):
    started = time.process_time()
    readable(text)
    assert time.process_time() - started < 1


def test_given_secrets_are_masked():
    assert readable("key hush, again hush", ["hush", ""]) == "key (masked), again (masked)"


def test_a_form_shows_only_what_is_open():
    body = b"grant_type=refresh_token&client_secret=secret-0002&refresh_token=refresh-0003&x"
    assert masked_form(body) == {
        "grant_type": "refresh_token",
        "client_secret": "(masked, 11 characters)",
        "refresh_token": "(masked, 12 characters)",
        "x": "(masked, 0 characters)",
    }
    assert secrets_of_form(body) == ["refresh-0003", "secret-0002"]
    assert (masked_form(None), secrets_of_form("a=b")) == ({}, [])


def test_fields_of_an_answer():
    fields = {"access_token": {"a": 1}, "expires_in": 5, "error_description": "no\nsecret-0002"}
    assert masked_fields(fields, lambda text: readable(text, ["secret-0002"])) == {
        "access_token": "(masked, 8 characters)",
        "expires_in": "5",
        "error_description": "no (masked)",
    }


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://user:secret@host:8443/path?query#x", "https://host:8443/path"),
        ("http://h:1/v1/a@b:generate", "http://h:1/v1/a@b:generate"),
        ("", ""),
        ("host/path", ""),
        ("http://[::1", ""),
        ("http://host:99999/", ""),
    ],
)
def test_an_address_for_a_program(url, kept):
    assert bare(url) == kept


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot reach postgresql://me:hush@host/db", "postgresql://(masked)@host/db"),
        ("postgresql://me:hu/sh@host/db", "postgresql://(masked)@host/db"),
        ("postgresql://me:hu@sh@host/db", "postgresql://(masked)@host/db"),
        ("https://token@host/x", "https://(masked)@host/x"),
        ("http://me:12345x@[::1]:8042/", "http://(masked)@[::1]:8042/"),
        ("https://host:443/v1/x/me@project.iam:y", "https://host:443/v1/x/me@project.iam:y"),
        ("see https://host/a, or me@host", "see https://host/a, or me@host"),
        ("https://host/hook?token=hush&a=1", "https://host/hook?token=(masked)&a=1"),
        ("https://host/hook?sig=a%2Fb", "https://host/hook?sig=(masked)"),
        ("host=h password=hush user=me", "host=h password=(masked) user=me"),
        ('{"client_secret": "hush", "a": 1}', '{"client_secret": "(masked)", "a": 1}'),
        ("{'refreshToken': 'hush'}", "{'refreshToken': '(masked)'}"),
        ("Authorization: Bearer abc.def-ghi_1~+/==", "Authorization: Bearer (masked)"),
        ("authorization: basic bWU6aHVzaA==", "authorization: basic (masked)"),
        ("token: expected a string", "token: expected a string"),
        ("basic authentication is on", "basic authentication is on"),
        ("bearer of bad news", "bearer of bad news"),
        ("expected http://USER:PASSWORD@host/", "expected http://USER:PASSWORD@host/"),
        ("no secret", "no secret"),
    ],
)
def test_secrets_are_known_by_their_shape(text: str, expected: str) -> None:
    assert expected in masked(text)
    assert masked(masked(text)) == masked(text)
    assert expected in str(GcpError(text))
