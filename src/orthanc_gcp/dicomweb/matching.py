"""Which attributes match a key of a query (PS3.4 §C.2.2.2), in the DICOM JSON model.

A store's search knows less than the standard: what it finds is matched here once more, by
whoever asks: a person's query, and workstations at a gateway.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

__all__ = ["Key", "is_wild", "key_of", "matcher_of", "tag_of"]

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_PADDING = " \0"
_TEXT = frozenset({"LT", "ST", "UT", "UR"})
"""A backslash in these is one, and separates no values (PS3.5 §6.2)."""
_WITH_WILDCARDS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"})
"""Where * and ? stand for characters (PS3.4 §C.2.2.2.4)."""
_NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_MOST_COMPONENTS = 5

_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_TIME = re.compile(r"([01]\d|2[0-3])(?:([0-5]\d)(?:([0-5]\d|60)(?:\.(\d{1,6}))?)?)?")
_MOMENT = re.compile(
    r"(\d{4}(?:\d{2}(?:\d{2}(?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?)?)?)([+-]\d{4})?"
)
_OFFSET = re.compile(r"-(0\d|1[0-2])[0-5]\d$")
_EARLIEST, _LATEST = "00010101000000000000", "99991231235959999999"
"""What a moment of fewer digits lasts from, and to."""

Matcher = Callable[[Any], bool]
"""Whether one value of the DICOM JSON model matches."""


@dataclass(frozen=True)
class Key:
    """An attribute, and what it is to match.

    Attributes
    ----------
    path
        Its tag, eight hexadecimal digits, after those of the sequences that it is in.
    representation
        Its value representation (PS3.5 §6.2); ``UN`` where the standard does not say.
    value
        As in a query: a value, several with backslashes between, with wildcards, or a range.
    name
        As whoever asks calls it.
    """

    path: tuple[str, ...]
    representation: str
    value: str
    name: str = ""

    @property
    def tag(self) -> str:
        """The tag of the attribute, or of the outermost sequence, as a search returns it."""
        return self.path[0]

    @property
    def is_universal(self) -> bool:
        """Whether it matches everything, also what is not there (PS3.4 §C.2.2.2.3)."""
        wild = self.representation in _WITH_WILDCARDS
        return not self.values or (wild and any(not one.strip("*") for one in self.values))

    @cached_property
    def values(self) -> tuple[str, ...]:
        """The values, each of which is enough (PS3.4 §C.2.2.2.2), without padding."""
        parts = [self.value] if self.representation in _TEXT else self.value.split("\\")
        return tuple(one for part in parts if (one := part.strip(_PADDING)))

    def matches(self, found: Mapping[str, Any]) -> bool:
        """Whether an object in the DICOM JSON model (PS3.18 annex F) matches."""
        return self.is_universal or _any_item(found, self.path, self._matches_one)

    @cached_property
    def _matchers(self) -> tuple[Matcher, ...]:
        return tuple(_matcher(self.representation, value) for value in self.values)

    @cached_property
    def _uids(self) -> frozenset[str]:
        return frozenset(self.values)

    def _matches_one(self, value: Any) -> bool:
        if self.representation == "UI":  # of which there may be a thousand
            return _text(value) in self._uids
        return any(matcher(value) for matcher in self._matchers)


def tag_of(name: str) -> str:
    """The tag, eight hexadecimal digits, of a keyword (PS3.6) or a tag however it is written.

    Raises
    ------
    ValueError
        There is no such attribute.
    """
    number = _TAG.fullmatch(name)
    if number is not None:
        return (number[1] + number[2]).upper()
    tag = tag_for_keyword(name) if name else None
    if tag is None:
        raise ValueError(f"{name[:64]} is no DICOM keyword, and no tag such as 0010,0020")
    return f"{tag:08X}"


def key_of(name: str, value: str) -> Key:
    """A key from its name, with dots after the sequences that it is in, and its value.

    Raises
    ------
    ValueError
        There is no such attribute, or it can have no such value; the message does not show it.
    """
    path = tuple(tag_of(part) for part in name.split("."))
    key = Key(path, _representation(path[-1]), value, name)
    if key.representation in _BINARY or (key.representation == "SQ" and key.values):
        raise ValueError(f"{name} cannot be searched for: it has no value that could match")
    for one in key.values:
        _check(name, key.representation, one)
    return key


def matcher_of(keys: Iterable[Key]) -> Matcher:
    """Whether an object in the DICOM JSON model matches all keys.

    Those in one sequence have to match in one item of it (PS3.4 §C.2.2.2.6).
    """
    own: list[Key] = []
    inside: dict[str, list[Key]] = {}
    for key in keys:
        if len(key.path) == 1:
            own.append(key)
        elif not key.is_universal:
            inside.setdefault(key.tag, []).append(replace(key, path=key.path[1:]))
    sequences = {tag: matcher_of(below) for tag, below in inside.items()}

    def matches(found: Any) -> bool:
        if not isinstance(found, Mapping):
            return False
        return all(key.matches(found) for key in own) and all(
            _any_item(found, (tag,), below) for tag, below in sequences.items()
        )

    return matches


def is_wild(text: str) -> bool:
    """Whether a value has wildcards in it."""
    return "*" in text or "?" in text


def _representation(tag: str) -> str:
    try:
        return dictionary_VR(int(tag, 16)).partition(" ")[0]
    except KeyError:  # a private one
        return "UN"


def _check(name: str, representation: str, value: str) -> None:
    """Refuse what could match nothing."""
    if representation == "DA" and _span(value, _days) is None:
        raise ValueError(f"{name}: expected a date, 20260131, or a range, 20260101-20260131")
    if representation == "TM" and _span(value, _times) is None:
        raise ValueError(f"{name}: expected a time, 143000, or a range, 0800-1200")
    if representation == "DT" and _moments(value) is None:
        raise ValueError(f"{name}: expected a moment, 20260131143000, or a range of two")
    if representation in _NUMBERS and _number(value) is None:
        raise ValueError(f"{name}: expected a number")


def _any_item(found: Any, path: tuple[str, ...], matches: Matcher) -> bool:
    """Whether any value at a path does; an item of a sequence is enough (PS3.4 §C.2.2.2.6)."""
    element = found.get(path[0]) if isinstance(found, Mapping) else None
    values = element.get("Value") if isinstance(element, Mapping) else None
    if not isinstance(values, list):
        return False
    if len(path) == 1:
        return any(matches(value) for value in values)
    return any(_any_item(item, path[1:], matches) for item in values)


def _matcher(representation: str, value: str) -> Matcher:
    if representation == "PN":
        return _name_matcher(value)
    if representation == "DA":
        return _within(_span(value, _days), _days)
    if representation == "TM":
        return _within(_span(value, _times), _times)
    if representation == "DT":
        return _within(_moments(value), _moment)
    if representation in _NUMBERS:
        number = _number(value)
        return lambda found: _number(found) == number
    if representation in _WITH_WILDCARDS and is_wild(value):
        matches = _glob(value)
        return lambda found: matches(_text(found))
    return lambda found: _text(found) == value


def _text(value: Any) -> str:
    """A value as text, without padding."""
    return str(value).strip(_PADDING) if isinstance(value, str | int | float) else ""


def _glob(pattern: str) -> Callable[[str], bool]:
    """Whether a text is what a pattern with * and ? stands for, in time that is bounded.

    A regular expression would try each asterisk at each place, in every combination.
    """
    parts = pattern.split("*")
    first, middle, last = parts[0], [part for part in parts[1:-1] if part], parts[-1]

    def matches(text: str) -> bool:
        if len(parts) == 1:
            return len(text) == len(first) and _at(first, text, 0)
        end = len(text) - len(last)
        place = len(first)
        if place > end or not (_at(first, text, 0) and _at(last, text, end)):
            return False
        for part in middle:
            found = (at for at in range(place, end - len(part) + 1) if _at(part, text, at))
            begin = next(found, None)
            if begin is None:
                return False
            place = begin + len(part)
        return True

    return matches


def _at(part: str, text: str, place: int) -> bool:
    """Whether a part of a pattern stands at a place of a text; ? is any character."""
    if "?" not in part:
        return text.startswith(part, place)
    own = text[place : place + len(part)]
    return all(one in ("?", other) for one, other in zip(part, own, strict=True))


def _number(value: Any) -> Decimal | None:
    try:
        number = Decimal(_text(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# -- Names of persons (PS3.5 §6.2.1; PS3.4 §C.2.2.2.1.1: case may not count) -----------------------


def _name_matcher(value: str) -> Matcher:
    wanted = [_folded(group) for group in value.split("=")]
    matchers = [_group_matcher(group) for group in wanted]

    def matches(found: Any) -> bool:
        groups = _name_groups(found)
        if len(matchers) == 1:
            return any(group and matchers[0](group) for group in groups)
        return all(
            not group or matcher(own)
            for group, matcher, own in zip(wanted, matchers, groups, strict=False)
        )

    return matches


def _group_matcher(wanted: str) -> Callable[[str], bool]:
    bare = wanted.rstrip("^")
    if not is_wild(wanted):
        return lambda group: group == bare
    glob = _glob(wanted)

    def matches(group: str) -> bool:
        # Components at the end that are empty may be left out.
        longer = group + "^" * max(0, _MOST_COMPONENTS - 1 - group.count("^"))
        return glob(group) or glob(longer)

    return matches


def _name_groups(found: Any) -> list[str]:
    """The groups of a name; a store may have one in a string, too."""
    if isinstance(found, Mapping):
        groups = [found.get(name) for name in _GROUPS]
    else:
        groups = list(_text(found).split("="))
    texts = [_folded(group) if isinstance(group, str) else "" for group in groups]
    return [group.rstrip("^") for group in (*texts, "", "", "")[: len(_GROUPS)]]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().strip(_PADDING)


# -- Dates and times (PS3.5 §6.2; PS3.4 §C.2.2.2.5) ------------------------------------------------

Span = tuple[str, str]
"""The first and the last moment, as digits of which all are there."""


def _within(wanted: Span | None, read: Callable[[str], Span | None]) -> Matcher:
    def matches(found: Any) -> bool:
        own = read(_text(found))
        return wanted is not None and own is not None and wanted[0] <= own[0] <= wanted[1]

    return matches


def _span(value: str, read: Callable[[str], Span | None]) -> Span | None:
    """What a value, or a range of two that both count, or of one that is open, lasts."""
    if "-" not in value:
        single = read(value)
        return None if single is None else (single[0], single[0])
    first, last = (part.strip() for part in value.split("-", 1))
    begin = read(first) if first else ("", "")
    end = read(last) if last else ("", _LATEST)
    if not (first or last) or begin is None or end is None:
        return None
    return begin[0], end[1]


def _days(text: str) -> Span | None:
    bare = text.strip().replace(".", "") if text.count(".") == 2 else text.strip()
    found = _DATE.fullmatch(bare)
    return None if found is None else (bare, bare)


def _times(text: str) -> Span | None:
    bare = text.strip().replace(":", "")
    if _TIME.fullmatch(bare) is None:
        return None
    digits = bare.replace(".", "")
    return digits + "000000000000"[len(digits) :], digits + "235959999999"[len(digits) :]


def _moments(value: str) -> Span | None:
    """What a moment or a range lasts: a hyphen may also stand before an offset from UTC."""
    places = [place for place, sign in enumerate(value) if sign == "-"]
    for place in places:
        first, last = value[:place].strip(), value[place + 1 :].strip()
        is_offset = place == len(value) - 5 and _OFFSET.search(value) is not None
        if not (first or last) or (is_offset and len(places) == 1):
            continue
        begin = _moment(first) if first else ("", "")
        end = _moment(last) if last else ("", _LATEST)
        if begin is not None and end is not None:
            return begin[0], end[1]
    single = _moment(value)
    return None if single is None else (single[0], single[0])


def _moment(text: str) -> Span | None:
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    digits = found[1].replace(".", "")
    begin, end = (digits + other[len(digits) :] for other in (_EARLIEST, _LATEST))
    if not found[2]:
        return begin, end
    sign = -1 if found[2][0] == "-" else 1
    offset = sign * timedelta(hours=int(found[2][1:3]), minutes=int(found[2][3:5]))
    return _in_utc(begin, offset), _in_utc(end, offset)


def _in_utc(digits: str, offset: timedelta) -> str:
    try:
        local = datetime.strptime(digits, "%Y%m%d%H%M%S%f").replace(tzinfo=timezone(offset))
        return local.astimezone(UTC).strftime("%Y%m%d%H%M%S%f").zfill(20)
    except (ValueError, OverflowError):  # such as the 31st of a shorter month
        return digits
