"""What fault settings are set to, read from JSON: each function checks a value and returns it.

They raise :class:`ValueError` or :class:`TypeError`, in words that follow the value's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from orthanc_gcp.emulator.faults.permissions import KNOWN_PERMISSIONS

__all__ = [
    "Kind",
    "chance",
    "choice",
    "duration",
    "flag",
    "members",
    "optional",
    "permissions",
    "rate",
    "scopes",
    "seconds",
    "snake_case",
    "text",
    "texts",
    "whole",
]

Kind = Callable[[Any], Any]
"""Takes a value of JSON and returns what it means; raises as the functions below do."""

_MAX_SECONDS = 10**9
"""Three decades: beyond the calendar, no date could be written."""
_MAX_DURATION = 24 * 3600


def snake_case(name: str) -> str:
    """Return a name in camel case as Python writes it."""
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise TypeError("is true or false")
    return value


def seconds(value: Any) -> float:
    """Read a number of seconds, which may be negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("is a number of seconds")
    if not abs(value) <= _MAX_SECONDS:
        raise ValueError("is too far away")
    return float(value)


def duration(value: Any) -> float:
    """Read how long something lasts, in seconds: a day at most."""
    number = seconds(value)
    if not 0 <= number <= _MAX_DURATION:
        raise ValueError(f"is between 0 and {_MAX_DURATION} seconds")
    return number


def chance(value: Any) -> float:
    """Read a probability."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("is a number between 0 and 1")
    return float(value)


def rate(value: Any) -> float:
    """Read how many of something there are in a second."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-3 <= value <= 1e9:
        raise ValueError("is a number between 0.001 and 1000000000")
    return float(value)


def whole(least: int, most: int) -> Kind:
    """Return what reads a whole number of a range."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"is a whole number between {least} and {most}")
        return value

    return read


def text(value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise TypeError("is a text")
    return value


def texts(value: Any) -> frozenset[str]:
    """Read a list of texts."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError("is a list of texts")
    return frozenset(value)


def choice(*values: str | int) -> Kind:
    """Return what reads one of some values."""

    def read(value: Any) -> Any:
        if isinstance(value, bool) or value not in values:
            raise ValueError(f"is one of {', '.join(map(str, values))}")
        return value

    return read


def optional(kind: Kind) -> Kind:
    """Return what reads null too, as nothing."""
    return lambda value: None if value is None else kind(value)


def members(value: Any, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Read an object that has some of these members; return them by their names in Python.

    Raises
    ------
    ValueError
        It has another member, or one whose value cannot be.
    """
    if not isinstance(value, dict) or not set(value) <= set(kinds):
        raise ValueError(f"is an object of {', '.join(kinds)}")
    found = {}
    for name, given in value.items():
        try:
            found[snake_case(name)] = kinds[name](given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"has a {name} that cannot be: it {error}") from error
    return found


def permissions(value: Any) -> frozenset[str]:
    """Read a list of permissions."""
    names = texts(value)
    unknown = sorted(names - KNOWN_PERMISSIONS)
    if unknown:
        raise ValueError(f"names a permission that there is not: {unknown[0]}")
    return names


def scopes(value: Any) -> tuple[str, ...]:
    """Read a list of scopes."""
    return tuple(sorted(texts(value)))
