"""Fuzzy matching of person names, as searches with ``fuzzymatching=true`` do it.

A name matches when any token of the query is the beginning of any token of the name (DICOM
conformance statement of the Healthcare API, QIDO-RS).
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["fuzzy_match"]

_SEPARATORS = re.compile(r"[\W_]+")


def fuzzy_match(query: str, name: str) -> bool:
    """Return whether any token of ``query`` begins a token of ``name``.

    Tokens are what stands between separators, in any group of the name (PS3.5 section 6.2.1);
    neither case nor accents count.
    """
    stored = _tokens(name)
    return any(token.startswith(wanted) for wanted in _tokens(query) for token in stored)


def _tokens(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    return [token for token in _SEPARATORS.split(plain) if token]
