"""What is wrong with a configuration, in words for the person who wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Problem", "shown", "unknown"]

SECRET_WORDS = (
    "Secret",
    "Token",
    "Password",
    "ClientId",
    "HttpProxy",
    "HttpHeaders",
    "Server",
    "Json",
    "Database",
)


@dataclass(frozen=True)
class Problem:
    """Something in the configuration that a person should know of."""

    path: str
    message: str
    error: bool = True

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def shown(value: Any, option: str = "") -> str:
    """What was found, short enough for a log, without the value of anything secret."""
    kinds = {dict: "an object", list: "a list", str: "a string", type(None): "null"}
    kind = kinds.get(type(value), f"a value of type {type(value).__name__}")
    if isinstance(value, dict | list) or value is None:
        return kind
    if any(word in option for word in SECRET_WORDS):
        return kind
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def unknown(options: Iterable[str], known: list[str], path: str) -> list[Problem]:
    """A warning for each option that nobody reads, with the nearest known name."""
    return [
        Problem(f"{path}.{key}", _unknown(key, known), error=False)
        for key in options
        if key not in known
    ]


def _unknown(key: str, known: list[str]) -> str:
    from difflib import get_close_matches  # only a misspelt file pays for this import

    lower = {name.lower(): name for name in known}
    near = get_close_matches(key.lower(), list(lower), n=1)
    return f"unknown option, did you mean {lower[near[0]]}?" if near else "unknown option, ignored"
