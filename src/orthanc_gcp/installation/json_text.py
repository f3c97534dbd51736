"""Options of a configuration file changed where they stand: comments and layout stay.

What Orthanc reads is more than JSON: comments, trailing commas, ``${VARIABLES}`` in the place of
values. So the text is not parsed here, only divided at its commas and brackets; whoever edits reads
the outcome again as Orthanc would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orthanc_gcp.configuration.json_reader import read_json
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.installation.options import OptionPath

__all__ = ["add_elements", "elements", "raw_value", "remove", "remove_elements", "set_value"]

_TOKEN = re.compile(
    r"""(?P<blank>[\s\ufeff]+|//[^\r\n]*|/\*.*?\*/)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<open>[{\[])
    |(?P<close>[}\]])
    |(?P<comma>,)
    |(?P<colon>:)
    |(?P<atom>(?:\$\{[^{}]*\}|[^\s{}\[\],:"/])+)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class _Item:
    """A member of an object, or an element of an array."""

    start: int
    value: int
    end: int
    key: str = ""


@dataclass(frozen=True)
class _Container:
    """Where an object or an array begins and ends, and what is in it."""

    start: int
    end: int
    items: tuple[_Item, ...]
    commas: tuple[int, ...]

    @property
    def ends_with_comma(self) -> bool:
        return 0 < len(self.items) == len(self.commas)


def raw_value(text: str, path: OptionPath) -> str | None:
    """The value of an option as it is written; None where it is missing.

    Raises
    ------
    ConfigurationError
        The text cannot be divided.
    """
    found = _find(text, path)
    return None if found is None else text[found.value : found.end]


def elements(text: str, path: OptionPath) -> list[str]:
    """The elements of an array as they are written; none where there is no array.

    Raises
    ------
    ConfigurationError
        The text cannot be divided.
    """
    found = _find(text, path)
    if found is None or text[found.value] != "[":
        return []
    return [text[item.value : item.end] for item in _divided(text, found.value).items]


def set_value(text: str, path: OptionPath, raw: str) -> str:
    """Give an option a value, written ``raw``; an option that is missing becomes the last one.

    Raises
    ------
    ConfigurationError
        The text cannot be divided, or the section that the option belongs to is not there.
    """
    found = _find(text, path)
    if found is not None:
        return text[: found.value] + raw + text[found.end :]
    return _appended(text, _container(text, path[:-1]), [f"{json.dumps(path[-1])} : {raw}"])


def remove(text: str, path: OptionPath) -> str:
    """Take an option out, the last one of its name.

    Raises
    ------
    ConfigurationError
        The text cannot be divided, or the section that the option belongs to is not there.
    """
    container = _container(text, path[:-1])
    number = max(n for n, item in enumerate(container.items) if item.key == path[-1])
    return _without(text, container, number)


def add_elements(text: str, path: OptionPath, values: list[Any]) -> str:
    """Put values at the end of the array that an option has.

    Raises
    ------
    ConfigurationError
        The text cannot be divided, or there is no such array.
    """
    return _appended(text, _container(text, path), [json.dumps(value) for value in values])


def remove_elements(text: str, path: OptionPath, values: list[Any]) -> str:
    """Take values out of the array that an option has.

    Raises
    ------
    ConfigurationError
        The text cannot be divided.
    """
    for value in values:
        found = (number for number, raw in enumerate(elements(text, path)) if _says(raw, value))
        if (number := next(found, None)) is not None:
            text = _without(text, _container(text, path), number)
    return text


def _says(raw: str, value: Any) -> bool:
    """Whether a value that is written so is this one, however it is laid out."""
    document = f'{{"value": {raw}\n}}'.encode("utf-8", "surrogateescape")
    try:
        return bool(read_json(document)["value"] == value)
    except ConfigurationError:
        return False  # it has a variable in it, perhaps


def _find(text: str, path: OptionPath) -> _Item | None:
    """The last one of its name counts, as for Orthanc."""
    container = _container(text, path[:-1])
    named = [item for item in container.items if item.key == path[-1]]
    return named[-1] if named else None


def _container(text: str, path: OptionPath) -> _Container:
    """The object or array that an option has, or the whole for no path."""
    if path:
        found = _find(text, path)
        if found is None:
            raise ConfigurationError(f"there is no {'.'.join(path)}")
        return _divided(text, found.value)
    first = next((token for token in _tokens(text, 0) if token.lastgroup != "blank"), None)
    if first is None or first[0] != "{":
        raise ConfigurationError("it is not a JSON object")
    return _divided(text, first.start())


def _divided(text: str, start: int) -> _Container:
    if text[start] not in "{[":
        raise ConfigurationError(f"{_place(text, start)} is neither an object nor an array")
    depth, opened = 0, start
    commas: list[int] = []
    pieces: list[list[tuple[str, int, int]]] = [[]]
    for token in _tokens(text, start):
        kind = token.lastgroup or ""
        if kind == "open":
            depth += 1
            opened = token.start() if depth == 2 else opened
        elif kind == "close":
            depth -= 1
            if depth == 0:
                items = (_item(text, piece) for piece in pieces if piece)
                return _Container(start, token.start(), tuple(items), tuple(commas))
            if depth == 1:
                pieces[-1].append(("value", opened, token.end()))
        elif depth == 1 and kind == "comma":
            commas.append(token.start())
            pieces.append([])
        elif depth == 1 and kind != "blank":
            pieces[-1].append((kind, *token.span()))
    raise ConfigurationError(f"what begins at {_place(text, start)} has no end")


def _item(text: str, piece: list[tuple[str, int, int]]) -> _Item:
    kinds = [kind for kind, _, _ in piece]
    start, end = piece[0][1], piece[-1][2]
    if len(kinds) == 1 and kinds != ["colon"]:
        return _Item(start, start, end)
    if len(kinds) == 3 and kinds[:2] == ["string", "colon"] and kinds[2] != "colon":
        return _Item(start, piece[2][1], end, json.loads(text[start : piece[0][2]], strict=False))
    raise ConfigurationError(f"{_place(text, start)} is not JSON")


def _tokens(text: str, start: int) -> Iterator[re.Match[str]]:
    while start < len(text):
        token = _TOKEN.match(text, start)
        if token is None:
            raise ConfigurationError(f"{_place(text, start)} is not JSON")
        yield token
        start = token.end()


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _appended(text: str, container: _Container, written: list[str]) -> str:
    """Each on a line of its own, unless the whole container stands on one."""
    inside = text[container.start : container.end]
    end = container.start + len(inside.rstrip())
    newline = next((each for each in ("\r\n", "\n", "\r") if each in inside), "")
    blank = " " if container.items else ""
    between = newline + _indentation(text, container) if newline else blank
    addition = "".join(f"{between}{each}," for each in written)[:-1]
    if not container.items or container.ends_with_comma:
        return text[:end] + addition + text[end:]
    # A comment may stand behind the last item: the comma goes before it, the addition behind.
    last = container.items[-1].end
    return text[:last] + "," + text[last:end] + addition + text[end:]


def _indentation(text: str, container: _Container) -> str:
    """That of the last item; else two spaces more than the line of the bracket."""
    at = container.items[-1].start if container.items else container.start
    begin = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    line = text[begin : at + 1]
    blank = line[: len(line) - len(line.lstrip())]
    return blank if container.items else blank + "  "


def _without(text: str, container: _Container, number: int) -> str:
    """What is left without an item, the blank before it, and the comma that is one too many."""
    item, commas = container.items[number], container.commas
    comma = commas[number] if number < len(commas) else commas[number - 1] if number else None
    after = item.end if comma is None or comma < item.start else comma + 1
    begin = len(text[: item.start].rstrip())
    if re.search(r"[\r\n]", text[begin : item.start]) and not re.match(
        r"[ \t]*[\r\n]", text[after:]
    ):
        begin = item.start  # the line's end may be that of a comment, too
    cuts = [(begin, item.end)]
    if comma is not None:
        cuts.append((comma, comma + 1))
    for start, end in sorted(cuts, reverse=True):
        text = text[:start] + text[end:]
    return text
