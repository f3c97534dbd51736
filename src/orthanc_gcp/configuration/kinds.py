"""Kinds of option values: what a value must be, and how to say so.

Plain dataclasses and these few kinds stand where one would expect pydantic: importing it takes
over 100 ms, more than everything else that the plugin does before the first server is published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from orthanc_gcp.configuration.problems import Problem, shown
from orthanc_gcp.configuration.timetable import is_window

__all__ = [
    "ADC",
    "AMOUNT",
    "CONFLICT",
    "CONNECTIONS",
    "COUNT",
    "DATABASE",
    "DAYS",
    "DELEGATES",
    "EMAIL",
    "FLAG",
    "INLINE",
    "LEVEL",
    "OBJECT",
    "PATTERNS",
    "PORT",
    "PROXY",
    "SCHEDULE",
    "SCOPES",
    "SECONDS",
    "STORE_PART",
    "STRINGS",
    "TAGS",
    "TEXT",
    "URL",
    "VERIFY",
    "WORD",
    "Kind",
    "option",
    "option_names",
    "read_options",
]


@dataclass(frozen=True)
class Kind:
    """What a value must be."""

    expected: str
    accepts: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_store_part(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w.:-]{1,256}", value) is not None


def _is_seconds(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 86400


def _is_url(value: Any) -> bool:
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_proxy(value: Any) -> bool:
    return isinstance(value, str) and (
        not value or _is_url(value if "://" in value else f"http://{value}")
    )


def _is_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_word, value))


def _is_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_email(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^@\s/:]+@[^@\s/:]+", value) is not None


def _is_emails(value: Any) -> bool:
    return _is_words(value) and all(map(_is_email, value))


def _is_tags(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_word(name) and _is_text(pattern) for name, pattern in value.items()
    )


def _is_schedule(value: Any) -> bool:
    return _is_words(value) and all(map(is_window, value))


def _is_database(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("postgresql://", "postgres://", "sqlite:"))


def _one_of(*values: str) -> Kind:
    return Kind(" or ".join(f'"{value}"' for value in values), lambda value: value in values)


def _whole(least: int, most: int, expected: str) -> Kind:
    return Kind(expected, lambda value: type(value) is int and least <= value <= most)


ADC = Kind('"ApplicationDefault"', lambda value: value == "ApplicationDefault")
DAYS = Kind("a whole number of days, at least 1", lambda value: type(value) is int and value >= 1)
DELEGATES = Kind("a list of e-mail addresses of service accounts", _is_emails)
EMAIL = Kind("the e-mail address of a service account", _is_email)
AMOUNT = _whole(1, 10**15, "a whole number, at least 1")
CONFLICT = _one_of("Keep", "Replace")
COUNT = _whole(0, 10**15, "a whole number, at least 0")
CONNECTIONS = _whole(1, 64, "a whole number from 1 to 64")
DATABASE = Kind("postgresql://user:password@host/database", _is_database)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
INLINE = Kind("a key file's content", lambda value: _is_word(value) or isinstance(value, dict))
LEVEL = _one_of("Instance", "Series", "Study")
PATTERNS = Kind("a list of strings, at least one", _is_words)
PORT = _whole(0, 65535, "a whole number from 0 to 65535")
STRINGS = Kind("a list of strings", _is_strings)
TAGS = Kind("an object of DICOM keywords and values", _is_tags)
VERIFY = _one_of("Search", "Sample", "Bytes")
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
PROXY = Kind("a proxy as host:port or http://user:password@host:port", _is_proxy)
SCHEDULE = Kind('a list of windows such as "20:00-06:00" or "Sat,Sun 00:00-24:00"', _is_schedule)
SCOPES = Kind("a list of strings, at least one", _is_words)
SECONDS = Kind("a whole number of seconds, from 0 to 86400", _is_seconds)
STORE_PART = Kind("a string of letters, digits, '-', '_', '.' or ':'", _is_store_part)
TEXT = Kind("a string", _is_text)
URL = Kind("an address that begins with https:// or http://", _is_url)
WORD = Kind("a string that is not empty", _is_word)


def option(kind: Kind, default: Any = MISSING, *, name: str = "", secret: bool = False) -> Any:
    """A dataclass field that is read from an option of the configuration.

    Parameters
    ----------
    default
        Its value when it is not given; ``dict`` for an empty object; none makes it mandatory.
    name
        How the option is written, where it is not the field's name in PascalCase.
    secret
        Keeps the value out of ``repr()``.
    """
    metadata = {"kind": kind, "name": name}
    if default is dict:
        return field(default_factory=dict, kw_only=True, repr=not secret, metadata=metadata)
    return field(default=default, kw_only=True, repr=not secret, metadata=metadata)


def option_names(model: type[Any]) -> list[str]:
    """The options of a model as they are written in the file."""
    return [_written(entry) for entry in fields(model) if "kind" in entry.metadata]


def read_options(
    model: type[Any], options: Mapping[str, Any], path: str, problems: list[Problem]
) -> dict[str, Any]:
    """The values that are right, by field; a problem for each that is wrong or missing."""
    values = {}
    for entry in fields(model):
        kind = entry.metadata.get("kind")
        if kind is None:
            continue
        written = _written(entry)
        where = f"{path}.{written}" if path else written
        required = entry.default is MISSING and entry.default_factory is MISSING
        if written in options:
            value = options[written]
            if kind.accepts(value):
                values[entry.name] = tuple(value) if isinstance(value, list) else value
            else:
                message = f"found {shown(value, written)}, expected {kind.expected}"
                problems.append(Problem(where, message))
        elif required:
            problems.append(Problem(where, f"missing, expected {kind.expected}"))
    return values


def _written(entry: Field[Any]) -> str:
    name: str = entry.metadata["name"] or "".join(
        word.capitalize() for word in entry.name.split("_")
    )
    return name
