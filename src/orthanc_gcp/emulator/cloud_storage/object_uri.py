"""Addresses in Cloud Storage, with the wildcards that the Healthcare API takes.

Sources: Cloud Storage, "About Cloud Storage buckets" and "About Cloud Storage objects" (names);
Healthcare API, REST reference, ``GcsSource`` (wildcards).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["BUCKET", "InvalidUriError", "ObjectUri", "steps"]

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
"""What a bucket may be called."""

MAX_NAME = 1024
"""How many bytes the name of an object has at most, in UTF-8."""
MAX_DEPTH = 100
_MAX_STEP = 255
_URI = re.compile(rf"gs://(?P<bucket>{BUCKET.pattern})(?:/(?P<name>.*))?")
_WILDCARDS = re.compile(r"\*\*|\*|\?")


class InvalidUriError(ValueError):
    """An address that no object has, or none that the folder has room for."""


@dataclass(frozen=True)
class ObjectUri:
    """An address in Cloud Storage; the object's ``name`` may be empty, or have wildcards."""

    bucket: str
    name: str

    @classmethod
    def parse(cls, text: object) -> ObjectUri:
        """Parse ``gs://bucket/object``; raise :class:`InvalidUriError`."""
        match = _URI.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidUriError(f"invalid Cloud Storage URI: {text!r}")
        uri = cls(match["bucket"], (match["name"] or "").rstrip("/"))
        if uri.name:
            steps(uri.name)
        return uri

    @property
    def fixed_start(self) -> str:
        """What comes before the first wildcard."""
        return _WILDCARDS.split(self.name)[0]

    @property
    def has_wildcards(self) -> bool:
        return self.fixed_start != self.name

    def pattern(self) -> re.Pattern[str]:
        """Return what the names of the objects meant match.

        ``**`` stands at the end, or before an extension, and then there is no other wildcard.
        Raises :class:`InvalidUriError` for wildcards elsewhere.
        """
        wildcards = _WILDCARDS.findall(self.name)
        if "**" in wildcards:
            _, _, rest = self.name.partition("**")
            if len(wildcards) > 1 or not re.fullmatch(r"(\.\w+)*", rest):
                raise InvalidUriError(f"invalid wildcards: {self!s}")
            return re.compile(".*".join(map(re.escape, self.name.split("**"))), re.DOTALL)
        return re.compile("/".join(map(_step_pattern, self.name.split("/"))))

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


def steps(name: str) -> list[str]:
    """Return the folders of an object's name, and the name of the file below them.

    Raises
    ------
    InvalidUriError
        It is no name of an object, or not one of a file below a folder: a step is empty, ``.``,
        ``..`` or longer than 255 bytes, or there are more than 100 of them.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    found = name.split("/")
    if not 0 < size <= MAX_NAME or len(found) > MAX_DEPTH or not all(map(_is_step, found)):
        raise InvalidUriError(f"invalid Cloud Storage object: {name[:MAX_NAME]!r}")
    return found


def _is_step(step: str) -> bool:
    return (
        step not in ("", ".", "..")
        and len(step.encode()) <= _MAX_STEP
        and not {"\0", "\n", "\r"} & set(step)
    )


def _step_pattern(step: str) -> str:
    """Return what one step of a path means, in linear time: no star is tried twice."""
    first, *rest = ("[^/]".join(map(re.escape, text.split("?"))) for text in step.split("*"))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>[^/]*?{text})" for text in middle) + f"[^/]*{last}"
