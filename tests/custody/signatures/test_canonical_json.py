"""One form of each document, and none of what means two things."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_gcp.custody.signatures import canonical_json as module
from orthanc_gcp.custody.signatures.canonical_json import canonical, parse

DEEP = 100_000


def test_the_form_of_rfc_8785():
    """Strings and the order of names as in its sections 3.2.2.2 and 3.2.3."""
    document = {
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/\x7f\u2028",
        "literals": [None, True, False, -1, 0, 2**53 - 1],
    }
    assert canonical(document) == (
        b'{"literals":[null,true,false,-1,0,9007199254740991],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f\xe2\x80\xa8"}'
    )
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(names, 0)))) == ordered


def test_spelling_makes_no_difference():
    one = parse(b'{"b": "\\u00e9\\/", "a": [1, {"d": {}, "c": []}]}')
    other = parse(b"\xef\xbb\xbf" + '\n{"a":[1,{"c":[],"d":{}}],"b":"é/"}\n'.encode())
    assert canonical(one) == canonical(other)
    assert parse(canonical(one)) == one


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        float("nan"),
        2**53,
        -(2**53),
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        b"",
        (),
        json.loads("[" * 40 + "]" * 40),
    ],
)
def test_what_has_no_form(value):
    with pytest.raises(ValueError, match=r"form|beyond|surrogate|name|deep"):
        canonical({"a": [value]})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JSON: Expecting value at line 1, column 1"),
        (b'{"a": 1}\n}', "Extra data at line 2, column 1"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b'"a"', "no JSON object"),
        (b'{"a": 1, "\\u0061": 1}', "twice"),
        (b'{"a": [{"b": 1, "b": 2}]}', "twice"),
        (b'{"a": 1.0}', "whole"),
        (b'{"a": 1e5}', "whole"),
        (b'{"a": NaN}', "whole"),
        (b'{"a": -Infinity}', "whole"),
        (b'{"a": 9007199254740992}', "beyond"),
        (b'{"a": -' + b"9" * 1_000_000 + b"}", "beyond"),
        (b'{"a": "\xff"}', "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b"\x00" * 100, "no JSON"),
        (b"[" * DEEP, "deep"),
        (b'{"a":' * DEEP, "deep"),
        (b'{"a": "\x00"}', "no JSON"),
    ],
)
def test_documents_that_are_none(content, words):
    with pytest.raises(ValueError, match=words) as caught:
        parse(content)
    assert len(str(caught.value)) < 200


def test_no_more_than_so_much(monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 8)
    assert parse(b'{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError, match="more than 8 bytes"):
        parse(b'{"a": 1} ')
    monkeypatch.setattr(module, "MOST_BRACKETS", 2)
    assert parse(b'{"a":[]}') == {"a": []}
    with pytest.raises(ValueError, match="more than 2 arrays and objects"):
        parse(b'{"":[[]]')
    monkeypatch.setattr(module, "MOST_COMMAS", 1)
    monkeypatch.setattr(module, "MOST_BYTES", 20)
    assert parse(b'{"a": [1, 2]}') == {"a": [1, 2]}
    with pytest.raises(ValueError, match="more than 1 values"):
        parse(b'{"a": [1, 2, 3]}')


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda own: st.lists(own, max_size=3) | st.dictionaries(st.text(), own, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25)
@given(st.dictionaries(st.text(), _VALUES, max_size=4), st.booleans())
def test_whatever_is_written_is_read_as_the_same(document, plain):
    text = json.dumps(document, ensure_ascii=plain, indent=1)
    assert parse(text.encode()) == document
    assert canonical(parse(text.encode())) == canonical(document)
    assert parse(canonical(document)) == document


@given(st.binary() | st.text(alphabet='{}[]":,\\ue01-.NaInfity').map(str.encode))
def test_any_bytes_are_a_document_or_an_error(content):
    with suppress(ValueError):
        document = parse(content)
        assert parse(canonical(document)) == document
