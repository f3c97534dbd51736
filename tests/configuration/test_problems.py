"""What is said of a mistake: in one line, with the name that was meant, and without a value."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.configuration.problems import (
    Effect,
    Problem,
    kind_of,
    meant,
    place_of,
    shown,
    unknown,
)
from tests.support.configurations import SERVICE


@pytest.mark.parametrize("name", ["line\nbreak", "x" * 500])
def test_a_message_is_one_short_line_whatever_the_names(name):
    accounts = {name: {**SERVICE, name: 1}}
    for problem in read({"GoogleCloudPlatform": {"Accounts": accounts, name: 1}}).problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 400


@pytest.mark.parametrize(
    ("key", "known", "found"),
    [
        ("BASEURL", "BaseUrl", True),
        ("BaseUr", "BaseUrl", True),
        ("BsaeUrl", "BaseUrl", True),
        ("Url", "BaseUrl", False),
        ("ProjectId", "Project", False),
        ("GoogleCloudPlatformOld", "GoogleCloudPlatform", False),
        ("GoogleCloudPlatfrm", "GoogleCloudPlatform", True),
    ],
)
def test_a_slip_of_the_pen(key, known, found):
    assert (meant(key, [known]) == known) == found


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("", "an empty string", "''"),
        ("secret", "a string", "'secret'"),
        ("x" * 50, "a string", "a string of 50 characters"),
        (5, "a number", "5"),
        (10**50, "a number", "a number of 51 characters"),
        (1.5, "a number", "1.5"),
        (True, "a boolean", "True"),
        (None, "null", "null"),
        ([1], "a list", "a list"),
        ({}, "an object", "an object"),
    ],
)
def test_a_value_and_its_kind(value, kind, text):
    assert kind_of(value) == kind
    assert shown(value) == text


@pytest.mark.parametrize(
    "value",
    [
        "GOCSPX-abcdefghijklmnopqrst",
        "1//0gabcdefghij",
        "ya29.abc",
        "https://me:hush@h/",
        "AIzaSyA-1234567890abcdefgh",
        10**25,
    ],
)
def test_what_may_be_a_secret_in_the_wrong_place_is_not_shown(value):
    assert shown(value) == f"{kind_of(value)} of {len(str(value))} characters"


def test_the_path_of_an_entry():
    assert place_of("", "HttpPort") == "HttpPort"
    assert place_of("A", "b c") == "A.b c"
    assert place_of("A", "b\nc") == "A.'b\\nc'"
    assert place_of("A", "x" * 81) == "A.a string of 81 characters"


def test_a_problem_is_one_sentence():
    assert str(Problem("A.B", "missing")) == "A.B: missing"
    assert str(Problem("", "no account")) == "no account"
    effect = Problem("A", "wrong", effect=Effect.NO_SENDING)
    assert str(effect) == "A: wrong; nothing is sent"


def test_an_unknown_option_is_an_error_only_when_it_was_meant_to_be_a_known_one():
    problems = unknown(["Known", "known", "Remark", "KnownOption"], ["Known"], "A")
    assert [(str(one), one.error) for one in problems] == [
        ("A.known: unknown option, did you mean Known?", True),
        ("A.Remark: unknown option, ignored", False),
        ("A.KnownOption: unknown option, did you mean Known?", False),
    ]
