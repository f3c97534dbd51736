"""What a search has found (PS3.18 §10.6.3.3): instances, each named by all three UIDs, or studies.

Whatever a store answers: a match counts as the instance that it names itself, by the attributes
Study, Series and SOP Instance UID or by its Retrieve URL (0008,1190), never as the one that was
searched for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

__all__ = [
    "SIZE_FIELDS",
    "FoundInstance",
    "estimated_size",
    "found_instance",
    "found_study",
    "found_uids",
]

_STUDY, _SERIES, _INSTANCE, _RETRIEVE_URL = "0020000D", "0020000E", "00080018", "00081190"
_PADDING = " \0"
_LEVELS = (_STUDY, _SERIES, _INSTANCE)
_ROWS, _COLUMNS, _BITS, _FRAMES = "00280010", "00280011", "00280100", "00280008"
SIZE_FIELDS = (_ROWS, _COLUMNS, _BITS, _FRAMES)
"""The tags of what a size is estimated by."""
_WITHOUT_PIXELS = 8 * 1024
_LARGEST = 1 << 40
_PATH = re.compile(r"/studies/([^/?#]+)(?:/series/([^/?#]+)(?:/instances/([^/?#]+))?)?/?$")


class FoundInstance(NamedTuple):
    """The UIDs of a match: neither of them alone names an instance."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


def found_instance(match: Any) -> FoundInstance | None:
    """The instance that a match names, in the DICOM JSON model (PS3.18 annex F); None for none."""
    uids = found_uids(match, len(_LEVELS))
    return None if uids is None else FoundInstance(*uids)


def found_study(match: Any) -> str | None:
    """The Study Instance UID that a match of a search for studies names; None for none."""
    uids = found_uids(match, 1)
    return None if uids is None else uids[0]


def found_uids(match: Any, depth: int) -> tuple[str, ...] | None:
    """The UIDs of a study, a series in it, an instance in that: as many as asked for, or None.

    The Retrieve URL of something below that level names nothing.
    """
    if not isinstance(match, dict):
        return None
    uids = tuple([_text(match.get(tag)) for tag in _LEVELS[:depth]])
    if all(uids):
        return uids
    path = _PATH.search(_text(match.get(_RETRIEVE_URL)))
    named = path.groups() if path and not any(path.groups()[depth:]) else ("", "", "")
    uids = tuple(
        uid or unquote(other or "").strip(_PADDING)
        for uid, other in zip(uids, named[:depth], strict=True)
    )
    return uids if all(uids) else None


def estimated_size(match: Mapping[str, Any]) -> int:
    """About how many bytes an instance has: a search says nothing of its compression."""
    rows, columns, bits, frames = (
        _number(match.get(tag), otherwise)
        for tag, otherwise in ((_ROWS, 0), (_COLUMNS, 0), (_BITS, 8), (_FRAMES, 1))
    )
    return min(rows * columns * ((bits + 7) // 8) * frames + _WITHOUT_PIXELS, _LARGEST)


def _number(element: Any, otherwise: int) -> int:
    values = element.get("Value") if isinstance(element, Mapping) else None
    try:
        return max(0, int(values[0])) if isinstance(values, list) else otherwise
    except (LookupError, TypeError, ValueError, OverflowError):
        return otherwise


def _text(element: Any) -> str:
    """The one value of an attribute, without padding; empty where it has none, or several."""
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list) or len(values) != 1 or not isinstance(values[0], str):
        return ""
    return values[0].strip(_PADDING)
