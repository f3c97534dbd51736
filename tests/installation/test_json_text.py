"""Options of a configuration file changed where they stand; any text, as people write them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.installation import json_text

SCRIPT = ("PythonScript",)


def says(text: str) -> Any:
    """What a text says, without comments and commas that are one too many."""
    text = re.sub(
        r'("(?:[^"\\]|\\.)*")|//[^\r\n]*|/\*.*?\*/', lambda m: m[1] or " ", text, flags=re.DOTALL
    )
    text = re.sub(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', lambda m: m[1] or "", text)
    return json.loads(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    "text",
    [
        '{"PythonScript":"old"}',
        '{"A":1,"PythonScript":"old","B":2}',
        '{\n  "PythonScript" : "old", // a comment\n}\n',
        '// "PythonScript": "no"\n{ /* "PythonScript": "no" */ "PythonScript" /* x */ : "old" }',
        '{"A": {"PythonScript": "no"}, "PythonScript": "old", "B": [{"PythonScript": "no"}]}',
        '{"A": "\\"PythonScript\\": \\"no\\"", "PythonScript": "old"}',
        '{"PythonScript": "no", "PythonScript": "old"}',
        '{\r\n\t"A" : [1, 2,],\r\n\t"PythonScript" : "old",\r\n}\r\n',
        '\ufeff{"PythonScript": "old"}',
        '{"Python\\u0053cript": "old"}',
        '{"A": ${NUMBER:-5}, "PythonScript": "old"}',
        '{"A": "{[", "PythonScript": "old"} what follows is not read: }{',
    ],
)
def test_a_value_is_replaced_and_nothing_else(text):
    edited = json_text.set_value(text, SCRIPT, '"new"')
    before, after = text.rpartition('"old"')[::2]
    assert edited == f'{before}"new"{after}'
    assert json_text.raw_value(edited, SCRIPT) == '"new"'
    assert json_text.set_value(edited, SCRIPT, '"old"') == text


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("{}", '{"A" : 1}'),
        ("{ }", '{"A" : 1 }'),
        ('{"B": 2}', '{"B": 2, "A" : 1}'),
        ('{"B": 2,}', '{"B": 2, "A" : 1}'),
        ("{\n}\n", '{\n  "A" : 1\n}\n'),
        ('{\n\t"B": 2\n}', '{\n\t"B": 2,\n\t"A" : 1\n}'),
        ('{\r\n  "B": 2\r\n}', '{\r\n  "B": 2,\r\n  "A" : 1\r\n}'),
        ('{\n  "B": 2 // b, }\n}', '{\n  "B": 2, // b, }\n  "A" : 1\n}'),
        ('{\n  "B": 2\n  // "A": 3\n}', '{\n  "B": 2,\n  // "A": 3\n  "A" : 1\n}'),
        ('{"B": 2 /* b */ }', '{"B": 2, /* b */ "A" : 1 }'),
        ('{"B": {"A": 3}}', '{"B": {"A": 3}, "A" : 1}'),
    ],
)
def test_a_missing_option_is_added(text, edited):
    assert json_text.raw_value(text, ("A",)) is None
    assert json_text.set_value(text, ("A",), "1") == edited
    removed = json_text.remove(edited, ("A",))
    assert says(removed) == says(text)


def test_an_option_of_a_section():
    text = '{"Path": "no", "Python": {"Path": "old", "Verbose": true}}'
    edited = json_text.set_value(text, ("Python", "Path"), '"new"')
    assert edited == text.replace('"old"', '"new"')


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ('{"Plugins": ["a"]}', '{"Plugins": ["a", "b"]}'),
        ('{"Plugins": []}', '{"Plugins": ["b"]}'),
        (
            '{\n  "Plugins" : [\n    "a" // "c"\n  ]\n}',
            '{\n  "Plugins" : [\n    "a", // "c"\n    "b"\n  ]\n}',
        ),
    ],
)
def test_elements_of_a_list(text, edited):
    assert json_text.add_elements(text, ("Plugins",), ["b"]) == edited
    assert says(json_text.remove_elements(edited, ("Plugins",), ["b"])) == says(text)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"A"', '{"A": 1', '{"A" 1}', '{"A": 1 2}', '{"A: 1}', "{1: 2}", '{"A": /* 1}'],
)
def test_what_cannot_be_divided_is_refused(text):
    with pytest.raises(ConfigurationError):
        json_text.set_value(text, ("A",), "1")


BLANK = some.lists(
    some.sampled_from([" ", "\n", "\r\n", "\t", '// , } "A": 1\n', '/* ] " */', "//\r\n"]),
    max_size=3,
).map("".join)
PLAIN = some.one_of(
    some.none(), some.booleans(), some.integers(), some.text(max_size=8).map(lambda t: t)
)
KEYS = some.sampled_from(["A", "B", "Plugins", "PythonScript", "a}", 'b"', "c\\", "//"])
VALUES = some.recursive(
    PLAIN,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@some.composite
def texts(draw) -> tuple[str, dict[str, Any]]:
    """An object written as people write them, and what it says."""

    def written(value: Any) -> str:
        if isinstance(value, dict):
            pairs = [
                f"{draw(BLANK)}{json.dumps(key)}{draw(BLANK)}:{draw(BLANK)}{written(one)}"
                for key, one in value.items()
            ]
            return "{" + joined(pairs) + "}"
        if isinstance(value, list):
            return "[" + joined([draw(BLANK) + written(one) for one in value]) + "]"
        return json.dumps(value)

    def joined(pieces: list[str]) -> str:
        last = "," if pieces and draw(some.booleans()) else ""
        return f"{draw(BLANK)},".join(pieces) + last + draw(BLANK)

    value = draw(some.dictionaries(KEYS, VALUES, max_size=4))
    return draw(BLANK) + written(value) + draw(BLANK), value


@given(texts(), KEYS, PLAIN)
def test_any_text_says_what_is_meant_after_an_edit(written, key, new):
    text, value = written
    assert says(text) == value
    edited = json_text.set_value(text, (key,), json.dumps(new))
    assert says(edited) == {**value, key: new}
    assert list(says(json_text.remove(edited, (key,)))) == [one for one in value if one != key]
    if key in value:
        raw = json_text.raw_value(text, (key,))
        assert json_text.set_value(edited, (key,), raw) == text
