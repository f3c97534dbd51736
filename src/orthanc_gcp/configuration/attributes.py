"""DICOM attributes that rules may name, and the patterns for their values.

The keywords stand in a file of this package, from the registry of data elements (DICOM PS3.6,
section 6), for importing pydicom's dictionary would cost Orthanc's start 100 ms. It is read only
when a rule names an attribute. Left out is what a rule never sees: sequences, binary values, and
groups that are not in Orthanc's ``/instances/{id}/tags`` (the file's header, for one).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from orthanc_gcp.configuration.problems import meant

__all__ = ["Attribute", "attribute", "keywords", "matches", "pattern_expected", "tags_expected"]

_NUMBER = re.compile(r"([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})")
_UNSEEN_GROUPS = ("0000", "0002", "fffe")
_PATTERN = {"CS": re.compile(r"[A-Z0-9 _*?]*"), "AE": re.compile(r"[^\\\x00-\x1f\x7f]*")}
_LONGEST = 16
_PADDING = " \t\r\n\f\v\0"
_ATTRIBUTE = "the keyword or the number, such as 0008,0080, of an attribute with text or a number"


@dataclass(frozen=True)
class Attribute:
    """A DICOM attribute as Orthanc names it."""

    number: str
    """``0008,0080``, in lower case."""
    keyword: str = ""
    """Empty for one that is not in the registry, as a private one."""


def attribute(name: str) -> Attribute | None:
    """The attribute with a keyword or a number, however that is written; None for no such."""
    bare = name[1:-1] if name.startswith("(") and name.endswith(")") else name
    found = _NUMBER.fullmatch(bare)
    if found is not None:
        group, element = (part.lower() for part in found.groups())
        number = f"{group},{element}"
        return None if group in _UNSEEN_GROUPS else Attribute(number, _by_number().get(number, ""))
    known = keywords().get(name)
    return Attribute(known, name) if known else None


@cache
def keywords() -> dict[str, str]:
    """The numbers of all attributes of the registry that rules may name, by keyword."""
    lines = Path(__file__).with_name("keywords.txt").read_text("ascii").splitlines()
    return {line[9:]: f"{line[:4]},{line[4:8]}" for line in lines}


@cache
def _by_number() -> dict[str, str]:
    return {number: keyword for keyword, number in keywords().items()}


def matches(patterns: Sequence[str], value: str) -> bool:
    """Whether a value matches one of some patterns; no pattern matches all.

    As in a query (DICOM PS3.4, section C.2.2.2), one of several values is enough, and blanks that
    pad a value do not count. Only ``*`` and ``?`` are special.
    """
    if not patterns:
        return True
    values = [one.strip(_PADDING) for one in {value, *value.split("\\")}]
    literal = [pattern.replace("[", "[[]") for pattern in patterns]
    return any(fnmatchcase(one, pattern) for one in values for pattern in literal)


def tags_expected(value: Any) -> str:
    """What was expected in place of attributes and patterns; empty if they are right."""
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        return "an object of DICOM keywords and patterns"
    for number, (name, pattern) in enumerate(value.items(), 1):
        if attribute(name) is None:
            near = meant(name, keywords())
            # Without a likeness it may be anything, the name of a patient in the wrong place.
            where = f"in place of {name}" if near else f"in place of name {number}"
            hint = f"; did you mean {near}?" if near else ""
            return f"{_ATTRIBUTE}, {where}{hint}"
        if pattern != pattern.strip() or not pattern.isprintable():
            return f"a pattern without blanks at its ends for {name}: those of values do not count"
    return ""


def pattern_expected(representation: str, patterns: list[str]) -> str:
    """What was expected in place of patterns that can match no value; empty if all can.

    Parameters
    ----------
    representation
        ``CS`` or ``AE`` (DICOM PS3.5, section 6.2): both have at most 16 characters, and blanks
        at their ends do not count.
    """
    for pattern in patterns:
        if representation == "CS" and not _PATTERN["CS"].fullmatch(pattern):
            return 'codes in capital letters, each in a string of its own, such as ["CT", "MR"]'
        if not _PATTERN[representation].fullmatch(pattern):
            return "application entity titles"
        if len(pattern.replace("*", "")) > _LONGEST or pattern != pattern.strip():
            return f"at most {_LONGEST} characters in each string, and no blank at its ends"
    return ""
