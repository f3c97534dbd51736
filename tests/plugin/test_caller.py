"""Who calls is who Orthanc has asked for a password, and nobody whom a body names."""

from __future__ import annotations

import base64
import json

import pytest

from orthanc_gcp.plugin.caller import LARGEST, user_of, with_user


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        (basic("jane:secret"), "jane"),
        (basic("jäne:a:b"), "jäne"),
        ({"authorization": basic("jane:x")["authorization"].replace("Basic", "bASIC")}, "jane"),
        ({}, ""),
        ({"authorization": "Bearer " + base64.b64encode(b"jane:x").decode()}, ""),
        ({"authorization": "Basic"}, ""),
        ({"authorization": "Basic ???"}, ""),
        ({"authorization": "Basic /w=="}, ""),
        (basic("ja\nne:x"), ""),
        (basic("\x1b[2J:x"), ""),
    ],
)
def test_the_user_is_that_of_basic_authentication(headers, user):
    assert user_of(headers) == user


def test_a_body_cannot_say_who_asks():
    forged = json.dumps({"Why": "x", "User": "boss"}).encode()
    assert json.loads(with_user(forged, "jane")) == {"Why": "x", "User": "jane"}
    assert json.loads(with_user(forged, "")) == {"Why": "x"}
    assert json.loads(with_user(b"", "jane")) == {"User": "jane"}
    twice = b'{"User": "boss", "User": "boss"}'
    assert json.loads(with_user(twice, "")) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b'"User"',
        b"[]",
        b'{"User": "boss"',
        b"\xff",
        b'{"User": "boss", "a": "%s"}' % (b"x" * 65536),
    ],
    ids=range(6),
)
def test_what_cannot_be_read_says_nothing(body):
    assert with_user(body, "jane") == b"null"


def test_what_is_too_deep_says_nothing():
    deep = b'{"User": "boss", "a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    assert len(deep) < LARGEST, "its depth is to be the reason, not its size"
    assert with_user(deep, "jane") == b"null"
