"""JSON as JsonCpp reads it. What Orthanc takes is asked of a real one in the integration tests."""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.configuration.json_reader import read_json
from orthanc_gcp.configuration.variables import substituted
from orthanc_gcp.errors import ConfigurationError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(st.text(), VALUES, max_size=5)
BLANKS = ("", "", " ", "\t", "\n", "\r\n", "\r")
COMMENTS = ("// {\" ' [\n", "// \\\r", "/* } */", "/**/", "/*/*/", '/* "\n//\n */', "/***/")


class Noise:
    """Writes JSON with blanks, comments and trailing commas wherever JsonCpp takes them."""

    def __init__(self, choice: random.Random) -> None:
        self._choice = choice

    def blank(self) -> str:
        return self._choice.choice(BLANKS)

    def any(self) -> str:
        return "".join(
            self._choice.choice(self._choice.choice((BLANKS, COMMENTS)))
            for _ in range(self._choice.randrange(3))
        )

    def document(self, value: object) -> str:
        return self.any() + self.written(value) + self.any()

    def written(self, value: object) -> str:
        if isinstance(value, dict):
            members = [
                f"{self.any()}{self.scalar(name)}{self.blank()}:{self.any()}{self.written(inner)}"
                for name, inner in value.items()
            ]
            return "{" + self.joined(members) + self.any() + "}"
        if isinstance(value, list):
            # No comment may stand between a comma or a bracket and the closing one.
            return "[" + self.joined([self.any() + self.written(one) for one in value]) + "]"
        return self.scalar(value)

    def joined(self, members: list[str]) -> str:
        trailing = self._choice.choice(("", ",", " ,\n")) if members else self.blank()
        return ",".join(member + self.any() for member in members) + trailing

    def scalar(self, value: object) -> str:
        return json.dumps(value, ensure_ascii=self._choice.random() < 0.5)


@given(DOCUMENTS, st.randoms(use_true_random=False), st.sampled_from(("", "\ufeff")))
def test_comments_blanks_and_trailing_commas_change_nothing(document, choice, mark):
    text = mark + Noise(choice).document(document)
    assert read_json(text.encode()) == document


@given(DOCUMENTS)
def test_what_json_writes_is_read_as_json_reads_it(document):
    for indent in (None, 2):
        text = json.dumps(document, indent=indent)
        assert repr(read_json(text.encode())) == repr(json.loads(text))


PIECES = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b";",
        b'"a"',
        b'"',
        b"\\",
        b"\\u",
        b"\\ud83d",
        b"\\ude00",
    ),
    *(
        b"1",
        b"-",
        b"+",
        b".",
        b"1e",
        b"I",
        b"true",
        b"nul",
        b"/*",
        b"*/",
        b"//",
        b"/",
        b"\n",
        b"\r",
    ),
    *(b"\\ude00", b"\r", b"\0", b" ", b"\xe4", b"\xf0\x9f", b"\xef\xbb\xbf"),
    *(b"${", b"${A}", b"${A:-", b"}", b"'", b"${}"),
)


@given(st.binary(max_size=64) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
def test_nothing_but_a_configuration_error_comes_out(content):
    try:
        assert isinstance(read_json(substituted(b'{"A": ' + content, {"A": '"\udce4'})), dict)
    except ConfigurationError as error:
        assert "\n" not in str(error)


@given(st.randoms(use_true_random=False))
def test_no_message_holds_what_is_written_there(choice):
    whole = b'{"Password": "hunter2 hunter2", "A": ["hunter2"], /* hunter2 */ "B": {"hunter2": 1}}'
    at = choice.randrange(len(whole))
    broken = whole[:at] + choice.choice(PIECES) + whole[at + choice.randrange(3) :]
    try:
        read_json(broken)
    except ConfigurationError as error:
        assert "hunter2" not in str(error)


def megabyte(of: bytes) -> bytes:
    return of * (1_000_000 // len(of))


@pytest.mark.parametrize(
    "content",
    [
        *(b'{"A":' + megabyte(b) for b in (b"[", b'{"A":', b"/*", b"/**/", b"//\n", b"\r", b"9")),
        *(b'{"A":"' + megabyte(b) for b in (b"\\n", b"\\", b"\xe4", b"\\ud800")),
        b'{"A":"' + megabyte(b"\xf0\x9f") + b'"}',
        b'{"A":"' + megabyte(b"\\ud800") + b'"}',
        b'{"A":[' + megabyte(b'"\\u00e4",') + b"x",
        b"{" + megabyte(b'"A":1/**/;'),
        *map(megabyte, (b"${", b"$", b"${A", b"${A:", b"${A:-", b"${A:-'", b'${A:-"', b"${A:-'}")),
        *map(megabyte, (b"${A}", b"${A:-x}", b"${A:-'x'}")),
    ],
    ids=lambda content: repr(content[:14]),
)
def test_a_hostile_megabyte_is_read_once(content):
    began = time.monotonic()
    with suppress(ConfigurationError):
        read_json(substituted(content, {"A": "x"}))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("piece", [b"${A:-", b'${A:-"', b"${A:-'}", b"${A"])
def test_ten_times_as_long_takes_ten_times_as_long(piece):
    def seconds(content: bytes) -> float:
        began = time.process_time()
        substituted(content, {})
        return time.process_time() - began

    short, long = (min(seconds(piece * length) for _ in range(3)) for length in (20_000, 200_000))
    assert long < 40 * short + 0.05


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON at line 1, column 1: nothing is in the file"),
        ("// only\n/* comments */\n", "not JSON at line 3, column 1: nothing is in the file"),
        ("[1]", "expected a JSON object at line 1, column 1"),
        ("\n 1", "expected a JSON object at line 2, column 2"),
        ('{"A": 1', "line 1, column 8: the file ends before its last }"),
        ('{"A": [1,', "line 1, column 10: the file ends where a value is expected"),
        ("{A: 1}", "line 1, column 2: the name of an option is expected, in double quotes"),
        ("{'A': 1}", "line 1, column 2: the name of an option is expected, in double quotes"),
        ('{"A" 1}', "line 1, column 6: a colon is missing between a name and its value"),
        ('{"A" /* */: 1}', "line 1, column 6: a comment between a name and its colon"),
        ('{"A": 1\r\n"B": 2}', "line 2, column 1: a comma or } is missing before this"),
        ('{"A": 1 // one\r"B": 2}', "line 2, column 1: a comma or } is missing before this"),
        ('{"A": [1 2]}', "line 1, column 10: a comma or ] is missing before this"),
        ('{"A": 1,, "B": 2}', "line 1, column 9: a comma too many"),
        ('{"A": [1,,2]}', "line 1, column 10: a value is missing"),
        ('{"A": }', "line 1, column 7: a value is missing"),
        ('{"A": [1, // one\n]}', "line 2, column 1: a comment right before the ] of a list"),
        ('{"A": True}', 'line 1, column 7: expected a value: "text" in double quotes'),
        ('{"ä": "ö", "A": .5}', "line 1, column 17: expected a value"),
        ('{"A": 1e}', "line 1, column 7: this is not a number"),
        ('{"A": 1e999}', "line 1, column 7: this number is too large"),
        ('{"A": "one,\n}', "line 1, column 7: a quote is missing: the string that begins here"),
        ('{\n/* "A": 1}', "line 2, column 1: this comment is not closed"),
        (r'{"A": "C:\images"}', r"line 1, column 10: this backslash begins no escape"),
        (r'{"A": "\u12"}', "line 1, column 8: this backslash begins no escape"),
        (r'{"A": "\ud83d!"}', "line 1, column 8: the first half of a surrogate pair"),
        ('{"A": ' + "[" * 1000, "line 1, column 1006: more than 1000 levels"),
    ],
    ids=repr,
)
def test_what_is_wrong_and_where(content, message):
    with pytest.raises(ConfigurationError) as caught:
        read_json(content.encode())
    assert message in str(caught.value)


def test_other_encodings_are_named():
    with pytest.raises(ConfigurationError, match="the file is in UTF-16, expected UTF-8"):
        read_json('{"A": 1}'.encode("utf-16"))
    with pytest.raises(ConfigurationError, match="not JSON in UTF-8 at line 1, column 12: a comma"):
        read_json('{"ä": "ö"  1}'.encode("latin-1"))


def test_deep_is_read_without_recursion():
    value = read_json(b'{"A": ' + b"[" * 999 + b"]" * 999 + b"}")["A"]
    for _ in range(998):
        (value,) = value
    assert value == []
