"""Media types with parameters, and the choice among those of an ``Accept`` header.

Sources: RFC 9110 sections 8.3 and 12.5.1; DICOM PS3.18 section 8.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

__all__ = ["MediaType", "parse_accept", "parse_media_type"]

# A comma or semicolon inside a quoted string does not separate. One that does not end goes on to
# the end of the header: to look for its end again from each quote took time with the square of it.
_PIECE = r'(?:"(?:\\.|[^"\\])*(?:"|\\?$)|[^{separator}"])+'
_MAX_KNOWN = 128
"""How many headers are remembered, each of which is as long as a head may be."""

_BY_COMMA = re.compile(_PIECE.replace("{separator}", ","))
_BY_SEMICOLON = re.compile(_PIECE.replace("{separator}", ";"))


@dataclass(frozen=True)
class MediaType:
    """A media type, or a range of them.

    Attributes
    ----------
    full : str
        ``type/subtype`` in lower case; a range has ``*`` for the subtype, or for both.
    parameters : mapping
        By their names in lower case; ``q`` is not among them.
    quality : float
        How much it is wanted, 0 to 1 (RFC 9110 section 12.4.2).
    excluded : frozenset of str
        Types that a range does not include.
    """

    full: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0
    excluded: frozenset[str] = frozenset()

    def covers(self, full: str) -> bool:
        """Return whether this range includes a media type without parameters."""
        main, _, _ = full.partition("/")
        ranges = () if full in self.excluded else (f"{main}/*", "*/*")
        return self.full in (full, *ranges)


@lru_cache(_MAX_KNOWN)
def parse_media_type(text: str) -> MediaType:
    """Parse the value of ``Content-Type``, or one element of ``Accept``."""
    full, *rest = [piece.strip() for piece in _BY_SEMICOLON.findall(text)] or [""]
    parameters: dict[str, str] = {}
    for piece in rest:
        name, found, value = piece.partition("=")
        if found:
            parameters.setdefault(name.strip().lower(), _unquote(value.strip()))
    return MediaType(full.lower(), parameters, _quality(parameters.pop("q", "1")))


@lru_cache(_MAX_KNOWN)
def parse_accept(header: str) -> tuple[MediaType, ...]:
    """Return the acceptable ranges, the most wanted first; an empty header accepts anything."""
    ranges = [parse_media_type(piece) for piece in _BY_COMMA.findall(header) if piece.strip()]
    if not ranges:
        return (MediaType("*/*"),)
    excluded = frozenset(r.full for r in ranges if r.quality == 0 and not r.parameters)
    wanted = [replace(r, excluded=excluded) for r in ranges if r.quality > 0]
    return tuple(sorted(wanted, key=lambda media_range: -media_range.quality))


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
