"""What Orthanc has of DICOM UIDs: ``POST /tools/find`` of its REST API, by lists of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["can_be_asked_for", "find_by_uid"]

_TOGETHER = 100
"""So many UIDs are asked for by one query."""
_PATTERN = frozenset("*?\\")
"""What a query takes for more than one UID (PS3.4 §C.2.2.2)."""


def can_be_asked_for(uid: str | None) -> TypeGuard[str]:
    """Whether a query takes it for one UID."""
    return uid is not None and uid != "" and _PATTERN.isdisjoint(uid)


def find_by_uid(
    rest: OrthancRest, level: str, keyword: str, uids: Sequence[str]
) -> list[dict[str, Any]]:
    """What has one of some UIDs that can be asked for, as ``Expand`` describes it.

    Orthanc answers so many at most (``LimitFindResults``, ``LimitFindInstances``), and does not say
    that there are more: it is asked for the others until it has none of them.

    Parameters
    ----------
    level
        ``Study``, ``Series`` or ``Instance``.
    keyword
        That of the attribute which has the UIDs.

    Raises
    ------
    OrthancError
        Orthanc is away, or refuses.
    """
    found: list[dict[str, Any]] = []
    left = list(dict.fromkeys(uids))
    while left:
        some, left = left[:_TOGETHER], left[_TOGETHER:]
        entries = _matches(rest, level, keyword, some)
        found += entries
        seen = {one.get("MainDicomTags", {}).get(keyword) for one in entries}
        if not seen.isdisjoint(some):
            left += [uid for uid in some if uid not in seen]
    return found


def _matches(
    rest: OrthancRest, level: str, keyword: str, uids: Sequence[str]
) -> list[dict[str, Any]]:
    question = {
        "Level": level,
        "Query": {keyword: "\\".join(uids)},  # a list of UIDs, PS3.4 §C.2.2.2.2
        "CaseSensitive": True,
        "Expand": True,
    }
    found: Any = rest.call("POST", "/tools/find", question)
    entries = found if isinstance(found, list) else []
    return [one for one in entries if isinstance(one, dict) and isinstance(one.get("ID"), str)]
