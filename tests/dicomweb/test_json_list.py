"""An array of JSON is read as json.loads reads it, and never all of it is in memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.dicomweb.json_list import LONGEST_ELEMENT, NotAListError, list_elements

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
LISTS = st.lists(VALUES)


@given(LISTS, st.sampled_from([None, 0, 2, "\t"]), st.sampled_from(["", " ", "\r\n\t"]))
def test_as_json_has_it(values, indent, blanks):
    text = f"{blanks}{json.dumps(values, indent=indent)}{blanks}"
    assert list(list_elements(text)) == values


@given(LISTS, st.integers(0, 200), st.text(alphabet='[]{},"0e\\ \0n', max_size=2))
def test_what_is_none_is_none(values, at, more):
    """Cut, or with something in it."""
    whole = json.dumps(values)
    text = whole[:at] + more
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    if isinstance(expected, list):
        assert list(list_elements(text)) == expected
    else:
        with pytest.raises(ValueError):
            list(list_elements(text))


@pytest.mark.parametrize("text", ["{}", "1", ' "[]"', "null"])
def test_something_else_is_no_list(text):
    with pytest.raises(NotAListError):
        list(list_elements(text))


@pytest.mark.parametrize("size", [1 << 14, LONGEST_ELEMENT - 3])
def test_a_number_or_a_text_is_read_to_its_end(size):
    number, words = 10 ** min(size, 4000), "x" * size
    for values in ([number, words], [words, number], [words] * 3):
        assert list(list_elements(json.dumps(values))) == values
    padded = " " * ((1 << 14) - 3)
    assert list(list_elements(f'["{padded}",12345]')) == [padded, 12345]


@pytest.mark.parametrize(
    "element", ['"' + "x" * LONGEST_ELEMENT + '"', "[" * 100_000, "[],[" * 300_000]
)
def test_what_would_fill_the_memory_is_refused(element):
    with pytest.raises(ValueError, match=r"too long|nested"):
        list(list_elements(f"[[{element}]]"))


def test_the_memory_that_it_takes():
    """All of it at once would take some thirty times as much."""
    match = {f"{tag:08X}": {"vr": "DS", "Value": ["1", "0"]} for tag in range(50)}
    text = json.dumps([match] * 2000)
    tracemalloc.start()
    try:
        assert sum(len(one) for one in list_elements(text)) == 100_000
        (_, most) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 20
    assert len(text) > 1 << 21
