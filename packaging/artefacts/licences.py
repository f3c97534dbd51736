"""The licence of each package, as an SPDX expression."""

from __future__ import annotations

import re
from importlib.metadata import Distribution
from typing import Any

__all__ = ["ALLOWED", "licence_of", "refused"]

ALLOWED = frozenset(
    {
        *("0BSD", "AGPL-3.0-or-later", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0"),
        *("GPL-3.0-only", "ISC", "LGPL-3.0-only", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0"),
        *("PSF-2.0", "Zlib"),
    }
)
"""What may be part of a work under AGPL-3.0-or-later: permissive ones, MPL-2.0 by its section 3.3,
GPL-3.0 and LGPL-3.0 by section 13 of both (gnu.org, "Various Licenses and Comments about Them")."""

_WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "BSD": "BSD-2-Clause",  # pyasn1-modules, whose LICENSE.txt is that one
    "GPL V3.0": "GPL-3.0-only",
    "ISC License": "ISC",
}
"""What packages write that name their licence in words of their own."""

_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def licence_of(distribution: Distribution) -> str:
    """What a package says of its licence: an SPDX expression, or words that are none."""
    fields: Any = distribution.metadata
    expression = fields.get("License-Expression")
    if expression:
        return str(expression)
    words = str(fields.get("License") or "").strip().partition("\n")[0]
    if words:
        return _WORDS.get(words, words)
    classifiers = fields.get_all("Classifier") or []
    found = [_CLASSIFIERS[one] for one in classifiers if one in _CLASSIFIERS]
    return " AND ".join(found)


def refused(expression: str) -> set[str]:
    """The licences of an expression that may not be part of it, where no others may be chosen.

    What is no SPDX expression (SPDX specification, annex "SPDX license expressions") is refused
    as a whole.
    """
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    try:
        choices = _any_of(tokens)
    except IndexError:
        return {expression}
    if tokens:
        return {expression}
    return min((choice - ALLOWED for choice in choices), key=len)


def _any_of(tokens: list[str]) -> list[set[str]]:
    """The sets of licences that may be chosen from; what was read of the tokens is taken out."""
    found = _all_of(tokens)
    while tokens[:1] == ["OR"]:
        del tokens[0]
        found += _all_of(tokens)
    return found


def _all_of(tokens: list[str]) -> list[set[str]]:
    found = _one_of(tokens)
    while tokens[:1] == ["AND"]:
        del tokens[0]
        found = [one | other for other in _one_of(tokens) for one in found]
    return found


def _one_of(tokens: list[str]) -> list[set[str]]:
    first = tokens.pop(0)
    if first != "(":
        return [{first}]
    found = _any_of(tokens)
    del tokens[0]
    return found
