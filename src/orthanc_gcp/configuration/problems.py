"""What is wrong with a configuration, in words for the person who wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from orthanc_gcp.redaction import masked

__all__ = ["Effect", "Problem", "kind_of", "meant", "place_of", "shown", "unknown"]

_LONGEST = 80
_LONGEST_VALUE = 40
_LIKE_A_SECRET = re.compile(r"[^\s'\"@]{20}")
"""So many characters without a blank: names are shorter, or of several words."""


class Effect(Enum):
    """What follows from a mistake in an option that all accounts share."""

    NONE = ""
    DEFAULT = "the default is used"
    NO_ACCOUNT = "no account is used"
    NO_CONNECTION = "no account is used, and no webhook, and no e-mail"
    NO_RULE = "nothing is sent by it"
    NO_RECEIVING = "nothing is received by it"
    NO_PREFETCH = "no priors are fetched by it"
    NO_GATEWAY = "the gateway does not start"
    NO_SENDING = "nothing is sent"
    NO_WEBHOOK = "nobody is told of alarms"
    NO_MAIL = "nobody is told of alarms by e-mail"


@dataclass(frozen=True)
class Problem:
    """Something in the configuration that a person should know of."""

    path: str
    message: str
    error: bool = True
    effect: Effect = Effect.NONE

    def __str__(self) -> str:
        message = f"{self.message}; {self.effect.value}" if self.effect.value else self.message
        return f"{self.path}: {message}" if self.path else message


def kind_of(value: Any) -> str:
    """What a value is, without the value: it may be a secret in the wrong place."""
    if value == "":
        return "an empty string"
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "null")


def shown(value: Any) -> str:
    """A value of an option that holds no secret, unless it may be one in the wrong place."""
    if isinstance(value, dict | list) or value is None:
        return kind_of(value)
    text = repr(value)
    if len(text) <= _LONGEST_VALUE and not _LIKE_A_SECRET.search(text) and masked(text) == text:
        return text
    return f"{kind_of(value)} of {len(str(value))} characters"


def place_of(path: str, key: str) -> str:
    """The path of an entry, in one line whatever its name."""
    name = masked(key) if key.isprintable() and len(key) <= _LONGEST else shown(key)
    return f"{path}.{name}" if path else name


def unknown(options: Iterable[str], known: list[str], path: str) -> list[Problem]:
    """A problem for each option that nobody reads, with the nearest known name.

    One that is a slip of the pen away from a known one is an error: what it was to say does not
    count. Any other is a warning, for the C++ plugin ignores what it does not know.
    """
    return [
        Problem(place_of(path, key), _unknown(key, known), error=meant(key, known) is not None)
        for key in options
        if key not in known
    ]


def meant(key: str, known: Iterable[str]) -> str | None:
    """The known name that was misspelt: in another case, or with one or two wrong letters.

    The likeness of ``difflib`` cannot tell a typo from a longer word that begins like a known one.
    """
    for name in known:
        most = 1 if len(name) <= 8 else 2
        if abs(len(key) - len(name)) <= most and _distance(key.lower(), name.lower()) <= most:
            return name
    return None


def _unknown(key: str, known: list[str]) -> str:
    from difflib import get_close_matches  # only a misspelt file pays for this import

    lower = {name.lower(): name for name in known}
    near = get_close_matches(key.lower(), list(lower), n=1)
    name = meant(key, known) or (lower[near[0]] if near else None)
    return f"unknown option, did you mean {name}?" if name else "unknown option, ignored"


def _distance(one: str, other: str) -> int:
    """How many letters to insert, remove, replace or exchange with their neighbour."""
    before, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        following = [i]
        for j, b in enumerate(other, 1):
            cost = min(row[j] + 1, following[j - 1] + 1, row[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            following.append(cost)
        before, row = row, following
    return row[-1]
