"""JSON in the one form that is signed, and documents from elsewhere that may be in it.

It is that of RFC 8785 (JSON Canonicalization Scheme), of what a receipt is made of: objects,
arrays, strings, whole numbers, true, false and null. Fractions are none of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

__all__ = ["MOST_BYTES", "canonical", "parse"]

MOST_BYTES = 96 * 1024 * 1024
MOST_BRACKETS, MOST_COMMAS = 1_000_000, 4_000_000
"""Of a document; arrays and objects in it, and values, each of which takes many times the memory
that its characters do: a receipt of 100,000 instances has less."""
_LARGEST = 2**53 - 1
"""The largest whole number that every reader of JSON has exactly (RFC 8259 §6)."""
_DIGITS = len(str(_LARGEST))
_DEEPEST = 32
_ENDS = (str, bool)


def canonical(value: Any) -> bytes:
    """The one form of a document: UTF-8, no spaces, members sorted by UTF-16 code units.

    Strings are escaped as in RFC 8785 §3.2.2.2.

    Raises
    ------
    ValueError
        Something in it has no such form: a fraction, a number beyond 2**53 - 1, half of a
        surrogate pair, something that is no JSON, or it is nested too deep.
    """
    ordered = _ordered(value, 0)
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("a string has half of a surrogate pair") from None


def parse(content: bytes) -> dict[str, Any]:
    """A document from elsewhere, in which every member and number means one thing only.

    Raises
    ------
    ValueError
        It is no JSON object in UTF-8, is larger than a receipt can be, names a member twice,
        has a number that :func:`canonical` has no form for, or is nested too deep.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    if content.count(b"[") + content.count(b"{") > MOST_BRACKETS:
        raise ValueError(f"it has more than {MOST_BRACKETS:,} arrays and objects")
    if content.count(b",") > MOST_COMMAS:
        raise ValueError(f"it has more than {MOST_COMMAS:,} values")
    try:
        document = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"it is no JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - what is wrong is the content
    return document


_TOO_DEEP = f"it is nested more than {_DEEPEST} deep"


def _ordered(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, _ENDS):
        return value
    if depth > _DEEPEST:
        raise ValueError(_TOO_DEEP)
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise ValueError("a member's name is no string")
        # All code units of ASCII are in the order of characters.
        names = sorted(value, key=None if all(map(str.isascii, value)) else _code_units)
        return {name: _ordered(value[name], depth + 1) for name in names}
    if isinstance(value, list):
        return [_ordered(one, depth + 1) for one in value]
    if isinstance(value, int):
        return _exact(value)
    raise ValueError(f"a {type(value).__name__} has no form in it")


def _code_units(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def _object(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object in it has a member twice")
    return found


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS:  # before it is made a number, which takes time
        raise ValueError(_TOO_LARGE)
    return _exact(int(digits))


_TOO_LARGE = "a number in it is beyond 2**53 - 1"


def _exact(number: int) -> int:
    if abs(number) > _LARGEST:
        raise ValueError(_TOO_LARGE)
    return number


def _no_fraction(_digits: str) -> NoReturn:
    raise ValueError("a number in it is no whole one")
