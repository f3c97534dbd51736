"""What Orthanc has of DICOM UIDs: ``POST /tools/find`` of its REST API, by lists of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from orthanc_gcp.orthanc.lookup import Answers, described, entries_of, looked_up
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
    that there are more. An answer is whole that is shorter than another one; what is not known to
    be whole is asked for in halves, and in the end by what has no limit.

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
    distinct = list(dict.fromkeys(uids))
    left = [distinct[start : start + _TOGETHER] for start in range(0, len(distinct), _TOGETHER)]
    answers = Answers()
    while left:
        some = left.pop()
        entries = _matches(rest, level, keyword, some)
        if answers.is_whole(len(entries)):
            found += entries
        elif len(some) > 1:
            half = len(some) // 2
            left += [some[half:], some[:half]]
        else:
            found += _all_of(rest, level, keyword, some[0], entries)
    return found


def _all_of(
    rest: OrthancRest, level: str, keyword: str, uid: str, known: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What has a UID, of which some is known."""
    there = {one["ID"] for one in known}
    others = [one for one in looked_up(rest, level, [uid]) if one not in there]
    alike = described(rest, others)  # in another case of letters, it may be
    return [*known, *(one for one in alike if one.get("MainDicomTags", {}).get(keyword) == uid)]


def _matches(
    rest: OrthancRest, level: str, keyword: str, uids: Sequence[str]
) -> list[dict[str, Any]]:
    question = {
        "Level": level,
        "Query": {keyword: "\\".join(uids)},  # a list of UIDs, PS3.4 §C.2.2.2.2
        "CaseSensitive": True,
        "Expand": True,
    }
    entries = entries_of(rest, "/tools/find", question)
    return [one for one in entries if isinstance(one.get("ID"), str)]
