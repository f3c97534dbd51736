"""What the value of an option must be, and what may be said of a wrong one."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest

from orthanc_gcp.configuration import option_types as types
from orthanc_gcp.configuration.option_types import (
    OptionType,
    effect_of,
    option,
    option_names,
    read_options,
)
from orthanc_gcp.configuration.problems import Effect, Problem

WEBHOOK_KEY = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
VALUES = {
    "ADC": (["ApplicationDefault"], ["applicationdefault", None, True]),
    "AET": (["A", "a b"], ["", " ", "a" * 17, "Ä", 5]),
    "AETS": ([["ORTHANC", "CT*"]], ["ORTHANC", [], [""], ["a" * 17]]),
    "AMOUNT": ([1, 10**15], [0, True, 1.0, "1"]),
    "COUNT": ([0, 5], [-1, False, "0"]),
    "ASSOCIATIONS": ([1, 500], [0, 501, "1"]),
    "CALLED": (
        [{"GOOGLE": "a", "A B": "b"}],
        [{}, [], {"A": 5}, {"": "a"}, {" ": "a"}, {"a" * 17: "a"}, {"A\\B": "a"}, {"Ä": "a"}],
    ),
    "KNOWN_MODALITIES": (
        [{}, {"a": ["A", "host", 104]}, {"a": {"AET": "A", "Host": "h", "Port": "104"}}],
        [[], {"a": ["A", "h"]}, {"a": ["A", 5, 104]}, {"a": ["A", "h", 0]}, {"a": None}, {"a": {}}],
    ),
    "PDU_LENGTH": ([4096, 131072], [4095, 131073, "16384"]),
    "CONNECTIONS": ([1, 64], [0, 65]),
    "CONFLICT": (["Keep", "Replace"], ["keep", "", None]),
    "DELEGATES": ([["a@b.iam.gserviceaccount.com"]], ["a@b", [], ["a"], [5]]),
    "EMAIL": (["a@b.c"], ["a", "@b", "a@", "a b@c", "https://a@b", 5]),
    "ENCRYPTION": (["StartTls", "Tls", "None"], ["starttls", "", None]),
    "FILE": (["key.json", "/a b/k"], ["", "{}", "a\nb", "x" * 1025, 5, None]),
    "FLAG": ([True, False], ["true", 1, 0, None]),
    "HOST": (["mail.example.org", "::1"], ["", "a b", "a\nb", "user@host", "h/", 5, None]),
    "HOUR": ([0, 23], [-1, 24, "7", 7.5, True, None]),
    "INLINE": (["x", {}], ["", [], None]),
    "LEVEL": (["Instance", "Series", "Study"], ["Patient", "study"]),
    "MAILBOX": (
        ["a+b@example.org"],
        ["a", "a@", "@b", "a b@c", "a@b\n", "<a@b>", "ä@b.c", 5, None],
    ),
    "MAILBOXES": ([["a@b.c"], ["a@b.c", "d@e.f"]], [[], "a@b.c", ["a"], ["a@b.c"] * 51, [5]]),
    "MAIL_PORT": ([1, 65535], [0, 65536, "25", True]),
    "MODALITIES": ([["CT", "MR"]], [["ct"], "CT", [5]]),
    "OBJECT": ([{}], [[], "x", None]),
    "PERCENT": ([1, 100], [0, 101, 80.0, "80"]),
    "PORT": ([0, 65535], [-1, 65536, "80", True]),
    "PRIORS": ([1, 100], [0, 101, "3", True]),
    "SUBSCRIPTION": (
        ["orthanc", "projects/a.b:c-1/subscriptions/a+b~c.d%e_f", "a" * 255],
        ["", "ab", "a" * 256, "goog-x", "1ab", "a/b", "projects/p/topics/abc", "a b c", "äbc", 5],
    ),
    "SCHEDULE": ([["20:00-06:00"]], [[], "20:00-06:00", ["8-9"]]),
    "SCOPES": ([["a"]], [[], [""], "a"]),
    "SECONDS": ([0, 86400], [-1, 86401, 1.5, "5"]),
    "STORE_PART": (["my-store", "a.b:c_d"], ["", ".", "..", "a/b", "a" * 257, 5]),
    "STRINGS": ([[], ["a", ""]], ["a", [5]]),
    "TAGS": ([{"Modality": "CT"}], [{"Modality": 1}, []]),
    "TEXT": (["", "a"], [5, None]),
    "TRIGGERS": ([["Instance"], ["Query", "Worklist"]], [[], "Query", ["query"], [5]]),
    "VERIFY": (["Search", "Sample", "Bytes"], ["All", "bytes"]),
    "WEBHOOK_SECRET": ([WEBHOOK_KEY], ["whsec_", "whsec_eA==", WEBHOOK_KEY[6:], 5, None]),
    "WORD": (["a"], ["", 5, None]),
    "URL": (["https://a.example/x"], ["a.example", "https://u:p@a.example/"]),
    "WEBHOOK": (["https://a.example/?k=v"], ["ftp://a/", "https://u:p@a.example/"]),
    "BASE_URL": (["https://a.example/v1/"], ["https://a.example/", 5]),
    "PROXY": (["", "proxy:3128"], ["socks5://proxy:1"]),
    "DATABASE": (["postgresql://h/d"], ["mysql://h/d", ""]),
    "DAYS": ([1, 90], [0, "90"]),
}


def cases(right: bool):
    return [(name, value) for name, values in VALUES.items() for value in values[0 if right else 1]]


def test_every_type_is_tried():
    exported = {name for name in types.__all__ if isinstance(getattr(types, name), OptionType)}
    assert exported == set(VALUES)


@pytest.mark.parametrize(("name", "value"), cases(True))
def test_a_right_value(name, value):
    assert getattr(types, name).expected(value) == ""


@pytest.mark.parametrize(("name", "value"), cases(False))
def test_a_wrong_value(name, value):
    assert getattr(types, name).expected(value)


def test_a_right_value_becomes_what_stands_in_the_model():
    assert types.SCOPES.convert(["a", "b"]) == ("a", "b")
    assert types.BASE_URL.convert("HTTPS://A.Example/v1/") == "https://a.example/v1/"


def test_only_what_is_known_to_hold_no_secret_is_shown():
    assert types.PORT.show("pw-1") == "'pw-1'"
    assert types.BASE_URL.show("https://user:pw-1@a.example/?key=pw-1") == "an address at a.example"
    assert types.BASE_URL.show("pw-1") == "a string"
    for name in ("URL", "WEBHOOK", "DATABASE", "PROXY", "WORD", "TEXT", "INLINE", "FILE", "TAGS"):
        assert "pw-1" not in getattr(types, name).show("pw-1"), name


# -- Models ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    unread: str = ""
    http_port: int = option(types.PORT)
    ca_file: str = option(types.TEXT, "ca.pem", name="CAFile", wrong=Effect.DEFAULT)
    password: str = option(types.WORD, "", secret=True)
    more: dict = option(types.OBJECT, dict)


def read(options: dict) -> tuple[dict, list[str]]:
    problems: list[Problem] = []
    values = read_options(Model, options, "M", problems)
    return values, [str(problem) for problem in problems]


def test_the_options_of_a_model():
    assert option_names(Model) == ["HttpPort", "CAFile", "Password", "More"]
    assert effect_of(Model, "CAFile") is Effect.DEFAULT
    assert effect_of(Model, "HttpPort") is Effect.NO_ACCOUNT
    assert effect_of(Model, "Unknown") is Effect.NONE


def test_values_by_field_and_problems_by_path():
    assert read({"HttpPort": 80, "CAFile": "x", "Other": 1}) == (
        {"http_port": 80, "ca_file": "x"},
        [],
    )
    values, problems = read({"CAFile": 5, "Password": ["pw-1"]})
    assert values == {}
    assert problems == [
        "M.HttpPort: missing, expected a whole number from 0 to 65535",
        "M.CAFile: found a number, expected a string",
        "M.Password: found a list, expected a string that is not empty",
    ]


def test_a_secret_is_in_no_repr_and_a_default_is_nobody_elses():
    model = Model(http_port=1, password="pw-1")
    assert "pw-1" not in repr(model)
    model.more["a"] = 1
    assert Model(http_port=1).more == {}
