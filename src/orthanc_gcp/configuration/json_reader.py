"""The JSON of Orthanc's configuration files, as JsonCpp reads it: more than JSON, less than JSON5.

No library reads this dialect. ``json`` takes neither comments nor trailing commas, ``commentjson``
no ``/* */``; ``json-with-comments``, ``json5`` and ``hjson`` take comments where Orthanc refuses
them, the last two single quotes and names without quotes as well. None of them takes ``01``, line
ends in strings, or anything after the last brace.

What is taken was seen on Orthanc 1.10.1, 1.12.7 and 1.13.0 (JsonCpp 1.9.5, 1.9.6 and 1.9.8, each
with the settings that ``CharReaderBuilder`` has by itself):

- a byte order mark; ``//`` and ``/* */`` before each name, value, comma and closing brace, but not
  before a colon, nor between a comma or a bracket and the ``]`` that closes a list;
- a comma before ``}`` and ``]``; any content after the brace that closes the whole;
- the last of equal names; line ends, other control characters and NUL in strings; ``\\/``;
- numbers such as ``01``, ``+1``, ``-.5``, ``1.`` and ``-``; integers of 64 bits, larger ones become
  floating point;
- strings that are not UTF-8, with the characters that ``GetConfiguration`` makes of them.

Where they differ, what one of them runs with is read as that one reads it: 1.10.1 takes any token
in place of a comma that follows a comment; only 1.13.0 refuses control characters in strings and
more than 256 levels. A number too large for floating point is refused: 1.10.1 does not start with
it, and to the others it is infinite.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from orthanc_gcp.errors import ConfigurationError

__all__ = ["place", "read_json"]

Container = dict[str, Any] | list[Any]

MAX_DEPTH = 1000
MAX_DIGITS = 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
WORDS = {b"true": True, b"false": False, b"null": None}

_TOKEN = re.compile(
    rb"""[ \t\r\n]*+(?:
    (?P<mark>     [{}\[\]:,] ) |
    (?P<string>   "(?:[^"\\]++|\\.)*+" ) |
    (?P<number>   (?:[0-9]|[-+](?!I)) [0-9]*+ (?:\.[0-9]*+)? (?:[eE][-+]?[0-9]*+)? ) |
    (?P<word>     true|false|null ) |
    (?P<comment>  //[^\r\n]*+ | /\*.*?\*/ ) |
    (?P<unclosed> " | /\* ) |
    (?P<end>      \Z ) |
    (?P<other>    /.? | [-+]I | . )
    )""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(
    rb"""\\(?:
    u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<second>[0-9a-fA-F]{4}) |
    u(?P<unit>[0-9a-fA-F]{4}) |
    (?P<letter>["\\/bfnrt]) |
    (?P<wrong>)
    )""",
    re.VERBOSE,
)
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
# Below which first byte, the length of a character, the bits of that byte, and the least value.
_UTF_8_FORMS = (
    (0x80, 1, 0x7F, 0),
    (0xE0, 2, 0x1F, 0x80),
    (0xF0, 3, 0x0F, 0x800),
    (0xF8, 4, 0x07, 0x10000),
)
_LINE_END = re.compile(rb"\r\n?|\n")


def read_json(content: bytes) -> dict[str, Any]:
    """The object that a configuration file holds.

    Parameters
    ----------
    content
        The file's bytes, with the variables of the environment put in.

    Raises
    ------
    ConfigurationError
        Orthanc refuses it too. The message has the line, the column and what is wrong there, and
        nothing of the content, which may be secret.
    """
    return _Reader(content).document()


def place(content: bytes, offset: int) -> str:
    """``line 3, column 7``, counted from 1 in lines and characters, for the one who mends it."""
    lines = _LINE_END.split(content[:offset].removeprefix(BYTE_ORDER_MARK))
    return f"line {len(lines)}, column {len(lines[-1].decode('utf-8', 'replace')) + 1}"


class _Reader:
    """Reads token by token and without recursion, so that depth costs neither stack nor time."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._start = len(BYTE_ORDER_MARK) if content.startswith(BYTE_ORDER_MARK) else 0
        self._tokens = _TOKEN.finditer(content, self._start)
        self._kind = ""
        self._token = b""
        self._after_comment = False
        self._taken_for_comma: int | None = None

    def document(self) -> dict[str, Any]:
        """Read the object; what follows it is not looked at, as by JsonCpp."""
        self._advance()
        self._check_root()
        root: dict[str, Any] = {}
        open_containers: list[Container] = [root]
        while open_containers:
            if self._closes_before_value(open_containers[-1]):
                open_containers.pop()
            else:
                if len(open_containers) >= MAX_DEPTH:
                    raise self._error(f"more than {MAX_DEPTH} levels, which Orthanc refuses")
                inner = self._read_into(open_containers[-1])
                if inner is not None:
                    open_containers.append(inner)
                    continue
            while open_containers and self._closes_after_value(open_containers[-1]):
                open_containers.pop()
        return root

    def _check_root(self) -> None:
        if self._content.startswith(UTF_16_MARKS):
            raise self._error("the file is in UTF-16, expected UTF-8")
        if self._kind == "end":
            raise self._error("nothing is in the file, expected an object: { … }")
        if self._kind in ("string", "number", "word") or self._token == b"[":
            where = place(self._content, self._start)
            raise ConfigurationError(f"expected a JSON object at {where}: {{ … }}")
        if self._token != b"{":
            raise self._value_error()

    def _closes_before_value(self, container: Container) -> bool:
        """Look at what follows an opening bracket or a comma."""
        if isinstance(container, dict):
            self._advance()
            return self._token == b"}"
        self._step()
        if self._token == b"]":
            return True
        self._skip_comments()
        return False

    def _closes_after_value(self, container: Container) -> bool:
        self._advance()
        closing = b"}" if isinstance(container, dict) else b"]"
        if self._token in (closing, b","):
            return self._token == closing
        if self._kind == "end":
            raise self._error(f"the file ends before its last {closing.decode()}")
        if not (isinstance(container, dict) and self._after_comment):
            raise self._error(f"a comma or {closing.decode()} is missing before this")
        # JsonCpp 1.9.5 does not look whether this is a comma; what follows has to be a name.
        self._taken_for_comma = self._start
        return False

    def _read_into(self, container: Container) -> Container | None:
        """Read one member; return its value when that is a container which has just been opened."""
        if isinstance(container, dict):
            name = self._name()
            container[name] = value = self._value()
        else:
            value = self._value()
            container.append(value)
        return value if isinstance(value, dict | list) else None

    def _name(self) -> str:
        if self._kind == "end":
            raise self._error("the file ends before its last }")
        if self._kind != "string":
            raise self._no_name_error()
        self._taken_for_comma = None
        name = self._string()
        self._step()
        if self._kind == "comment":
            raise self._error("a comment between a name and its colon, which Orthanc refuses")
        if self._token != b":":
            raise self._error("a colon is missing between a name and its value")
        self._advance()
        return name

    def _no_name_error(self) -> ConfigurationError:
        if self._taken_for_comma is not None:
            return self._error("a comma or } is missing before this", self._taken_for_comma)
        if self._token == b",":
            return self._error("a comma too many")
        return self._error('the name of an option is expected, in double quotes: "…"')

    def _value(self) -> Any:
        match self._kind, self._token:
            case "string", _:
                return self._string()
            case "number", _:
                return self._number()
            case "word", word:
                return WORDS[word]
            case _, b"{":
                return {}
            case _, b"[":
                return []
        raise self._value_error()

    def _value_error(self) -> ConfigurationError:
        if self._kind == "end":
            return self._error("the file ends where a value is expected")
        if self._token == b"]" and self._after_comment:
            return self._error("a comment right before the ] of a list, which Orthanc refuses")
        if self._kind == "mark":
            return self._error("a value is missing")
        return self._error(
            'expected a value: "text" in double quotes, a number, true, false, null, { or ['
        )

    def _number(self) -> int | float:
        digits = self._token.removeprefix(b"-")
        significant = digits.lstrip(b"0")
        if (digits.isdigit() or not digits) and len(significant) <= MAX_DIGITS:
            whole = int(significant or b"0") * (1 if digits == self._token else -1)
            if -(1 << 63) <= whole < 1 << 64:
                return whole
        try:
            number = float(self._token)
        except ValueError:
            raise self._error("this is not a number") from None
        if math.isinf(number):
            raise self._error("this number is too large")
        return number

    def _string(self) -> str:
        raw = self._token[1:-1]
        return _text(_ESCAPE.sub(self._unescaped, raw) if b"\\" in raw else raw)

    def _unescaped(self, found: re.Match[bytes]) -> bytes:
        """The bytes that an escape stands for."""
        if found["letter"]:
            return _LETTERS.get(found["letter"], found["letter"])
        if found["high"]:
            # JsonCpp does not look whether the second is the second half of a pair.
            high, low = (int(found[name], 16) & 0x3FF for name in ("high", "second"))
            return chr(0x10000 + (high << 10) + low).encode()
        at = self._start + 1 + found.start()
        if not found["unit"]:
            raise self._error(r"this backslash begins no escape; a backslash is written \\", at)
        unit = int(found["unit"], 16)
        if 0xD800 <= unit <= 0xDBFF:
            raise self._error("the first half of a surrogate pair without the second", at)
        return chr(unit).encode("utf-8", "surrogatepass")

    def _advance(self) -> None:
        """Go to the next token that is not a comment."""
        self._step()
        self._skip_comments()

    def _skip_comments(self) -> None:
        self._after_comment = self._kind == "comment"
        while self._kind == "comment":
            self._step()

    def _step(self) -> None:
        # There is one: the last pattern takes any byte, and nothing goes on beyond the end.
        found = next(self._tokens)
        self._kind = str(found.lastgroup)
        self._token, self._start = found[self._kind], found.start(self._kind)
        if self._kind == "unclosed":
            if self._token == b"/*":
                raise self._error("this comment is not closed")
            raise self._error("a quote is missing: the string that begins here does not end")

    def _error(self, message: str, offset: int | None = None) -> ConfigurationError:
        where = place(self._content, self._start if offset is None else offset)
        return ConfigurationError(f"{_format_of(self._content)} at {where}: {message}")


def _format_of(content: bytes) -> str:
    """What a file with an error in it is not; the encoding may be the cause."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return "not JSON in UTF-8"
    return "not JSON"


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(_characters(raw))


def _characters(raw: bytes) -> Iterator[str]:
    """What JsonCpp's writer, and so ``GetConfiguration``, makes of bytes that are not UTF-8.

    The first byte tells how many belong to a character, whatever the others are; what is too short
    for that, or no character, becomes U+FFFD.
    """
    at = 0
    while at < len(raw):
        length, mask, least = next(
            (form[1:] for form in _UTF_8_FORMS if raw[at] < form[0]), (len(raw) + 1, 0, 0)
        )
        if at + length > len(raw):
            yield "\ufffd"
            at += 1
            continue
        point = raw[at] & mask
        for byte in raw[at + 1 : at + length]:
            point = point << 6 | byte & 0x3F
        yield _character(point) if point >= least else "\ufffd"
        at += length


def _character(point: int) -> str:
    if 0xD800 <= point <= 0xDFFF:
        return "\ufffd"
    return chr(point if point < 0x10000 else 0x10000 + (point - 0x10000 & 0xFFFFF))
