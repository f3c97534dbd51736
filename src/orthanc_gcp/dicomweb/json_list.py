"""A JSON array, one element at a time: what a program has of JSON takes many times its text.

The elements are read by the standard library; ijson, which reads as well what is not there as a
whole, would be another library with a part in C for the brackets and commas between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["LONGEST_ELEMENT", "NotAListError", "list_elements"]

LONGEST_ELEMENT = 1 << 20
"""Characters of an element at most."""
_USUAL_ELEMENT = 1 << 14
_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class NotAListError(ValueError):
    """It is JSON, and no array."""


def list_elements(text: str) -> Iterator[Any]:
    """The elements of an array (RFC 8259 §5), whatever they are.

    Raises
    ------
    NotAListError
        It is something else.
    ValueError
        It is no JSON, or an element is longer than :data:`LONGEST_ELEMENT`: after those before.
    """
    at = _next(text, 0)
    if not text.startswith("[", at):
        _element(text, at)
        raise NotAListError
    at = _next(text, at + 1)
    separator = "]" if text.startswith("]", at) else ","
    at += separator == "]"
    while separator == ",":
        element, at = _element(text, at)
        yield element
        at = _next(text, at)
        separator = text[at : at + 1]
        at = _next(text, at + 1)
    if separator != "]" or _next(text, at) < len(text):
        raise ValueError("it does not end as an array does")


def _next(text: str, at: int) -> int:
    """Where the blanks end that are at a place."""
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def _element(text: str, at: int) -> tuple[Any, int]:
    """The element that is at a place, and where it ends."""
    for longest in (_USUAL_ELEMENT, LONGEST_ELEMENT):
        piece = text[at : at + longest]
        is_rest = at + len(piece) == len(text)
        try:
            element, length = _DECODER.raw_decode(piece)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        except ValueError:
            if is_rest:
                raise
            continue
        if is_rest or length < len(piece):  # a number may go on
            return element, at + length
    raise ValueError("an element is none, or too long")
