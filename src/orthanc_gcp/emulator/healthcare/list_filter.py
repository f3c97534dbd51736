"""Filters of lists: comparisons joined by ``AND`` and ``OR``, negated by ``NOT`` (AIP-160).

``OR`` binds more closely than ``AND``; there are no parentheses.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

__all__ = ["InvalidFilterError", "parse_filter"]

Matches = Callable[[dict[str, Any]], bool]

_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|<=|>=|!=|[=<>:]|[^\s"=<>:!]+)')
_MAX_LENGTH = 10_000
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    ":": lambda value, wanted: wanted in ("*", value) or wanted in value,
}


class InvalidFilterError(ValueError):
    """A filter that cannot be understood."""


def parse_filter(text: str) -> Matches:
    """Return whether a resource matches, as a function of its JSON; an empty filter always matches.

    Raises :class:`InvalidFilterError` when the filter cannot be understood.
    """
    if len(text) > _MAX_LENGTH:
        raise InvalidFilterError("it is too long")
    tokens = _tokens(text)
    if not tokens:
        return lambda _: True
    groups = [[_term(words) for words in _split(part, "OR")] for part in _split(tokens, "AND")]
    return lambda resource: all(any(term(resource) for term in group) for group in groups)


def _tokens(text: str) -> list[str]:
    tokens, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidFilterError(f"unexpected {text[position:][:20]!r}")
        tokens.append(match[1])
        position = match.end()
    return tokens


def _split(tokens: list[str], word: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == word:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _term(words: list[str]) -> Matches:
    negations = next((n for n, word in enumerate(words) if word != "NOT"), len(words))
    words = words[negations:]
    if len(words) != 3 or words[1] not in _COMPARE:
        raise InvalidFilterError(f"not a comparison: {' '.join(words)!r}")
    path, compare, wanted = words[0].split("."), _COMPARE[words[1]], _unquoted(words[2])

    def matches(resource: dict[str, Any]) -> bool:
        value = _value(resource, path)
        return (value is not None and compare(value, wanted)) != bool(negations % 2)

    return matches


def _value(resource: Any, path: list[str]) -> str | None:
    """Return a field as text; an absent ``done`` is false, as for any flag."""
    for name in path:
        resource = resource.get(name) if isinstance(resource, dict) else None
    if resource is None and path == ["done"]:
        return "false"
    if isinstance(resource, bool):
        return str(resource).lower()
    return str(resource) if isinstance(resource, str | int | float) else None


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word
