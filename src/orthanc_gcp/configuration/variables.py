"""``${NAME}`` and ``${NAME:-default}`` in Orthanc's configuration files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from orthanc_gcp.configuration.json_reader import place
from orthanc_gcp.errors import ConfigurationError

__all__ = ["substituted"]

_BRACE, _COLON, _BRACE_OR_QUOTE = re.compile(rb"}"), re.compile(rb":"), re.compile(rb"[}'\"]")
_QUOTES = {quote: re.compile(quote) for quote in (b"'", b'"')}


def substituted(content: bytes, environment: Mapping[str, str]) -> bytes:
    """Put the environment's variables into a file's bytes, before they are read as JSON.

    Orthanc does so wherever they stand, in comments too, and once: what a value holds is not looked
    at again. A name goes to the next ``}`` or ``:``, whatever stands between, line ends and quotes
    included. A default ends at the next ``}`` and holds no quote, or stands in quotes of one kind,
    which are dropped. What is not set and has no default becomes empty.

    Raises
    ------
    ConfigurationError
        ``${}`` names no variable: Orthanc ends by it.
    """
    ahead = _Ahead(content)
    parts, end = [], 0
    start = content.find(b"${")
    while start >= 0:
        variable = _variable(content, start, ahead)
        if variable is not None:
            parts += [content[end:start], variable.value(environment)]
            end = variable.end
        start = content.find(b"${", max(end, start + 2))
    return b"".join([*parts, content[end:]])


@dataclass(frozen=True)
class _Variable:
    name: bytes
    default: bytes
    end: int

    def value(self, environment: Mapping[str, str]) -> bytes:
        found = environment.get(os.fsdecode(self.name))
        return self.default if found is None else os.fsencode(found)


class _Ahead:
    """Where a pattern is found next, from starts that only grow.

    Each pattern goes over the content once, so that hostile content costs no more time.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._found: dict[re.Pattern[bytes], int] = {}

    def __call__(self, pattern: re.Pattern[bytes], start: int) -> int:
        found = self._found.get(pattern, -1)
        if found < start:
            match = pattern.search(self._content, start)
            self._found[pattern] = found = match.start() if match else len(self._content)
        return found


def _variable(content: bytes, start: int, ahead: _Ahead) -> _Variable | None:
    begin = start + len(b"${")
    brace, colon = ahead(_BRACE, begin), ahead(_COLON, begin)
    if brace < colon:
        variable = _Variable(content[begin:brace], b"", brace + 1)
    elif content.startswith(b":-", colon) and (default := _default(content, colon + 2, ahead)):
        variable = _Variable(content[begin:colon], *default)
    else:
        return None
    if not variable.name:
        where = place(content, start)
        raise ConfigurationError(f"a variable without a name at {where}: Orthanc ends by it")
    return variable


def _default(content: bytes, start: int, ahead: _Ahead) -> tuple[bytes, int] | None:
    """A default, and where its variable ends."""
    quote = content[start : start + 1]
    quoted = quote in _QUOTES
    begin = start + 1 if quoted else start
    closing = ahead(_QUOTES[quote] if quoted else _BRACE_OR_QUOTE, begin)
    brace = closing + 1 if quoted else closing
    return (content[begin:closing], brace + 1) if content.startswith(b"}", brace) else None
