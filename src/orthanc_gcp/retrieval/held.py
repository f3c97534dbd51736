"""What Orthanc has of studies, series and instances, by DICOM's UIDs or by its own identifiers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from orthanc_gcp.ledger.retrievals.rows import Arrived, Resource
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["described", "held"]

_PORTION = 200
_TOGETHER = 100
"""So many UIDs are asked for by one query."""
_TRIES = 3
_PATTERN = frozenset("*?\\")
"""What a query takes for more than one UID."""


def held(
    rest: OrthancRest, orthanc: OrthancSource, resources: Collection[Resource]
) -> Iterator[list[Arrived]]:
    """The instances that Orthanc has of some resources, portion by portion; maybe others, too.

    Raises
    ------
    OrthancError
        Orthanc is away, or refuses.
    """
    yield from described(orthanc, _instances(rest, orthanc, resources))


def described(orthanc: OrthancSource, instances: Sequence[str]) -> Iterator[list[Arrived]]:
    """Those of some instances that Orthanc has, by its identifiers, portion by portion.

    Raises
    ------
    OrthancError
        Orthanc is away, or refuses.
    """
    for start in range(0, len(instances), _PORTION):
        yield [
            Arrived(
                (one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid),
                one.orthanc_id,
                one.attachment_uuid,
                one.size_bytes,
            )
            for one in orthanc.describe(instances[start : start + _PORTION])
        ]


def _instances(
    rest: OrthancRest, orthanc: OrthancSource, resources: Collection[Resource]
) -> list[str]:
    """Their identifiers in Orthanc."""
    for _ in range(_TRIES):
        parents = _parents(rest, orthanc, resources)
        try:
            return orthanc.members(parents) if parents else []
        except KeyError:  # one was deleted meanwhile
            continue
    return []


def _parents(
    rest: OrthancRest, orthanc: OrthancSource, resources: Collection[Resource]
) -> list[str]:
    """What has them, as near as it can be asked for: several patients may have the same UIDs."""
    found: list[str] = []
    asked: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in resources:
        if one.sop_instance_uid and not _PATTERN & set(one.sop_instance_uid):
            asked["Instance", "SOPInstanceUID"].append(one.sop_instance_uid)
        elif one.series_instance_uid and not _PATTERN & set(one.series_instance_uid):
            asked["Series", "SeriesInstanceUID"].append(one.series_instance_uid)
        elif one.study_instance_uid and not _PATTERN & set(one.study_instance_uid):
            asked["Study", "StudyInstanceUID"].append(one.study_instance_uid)
        else:
            found += orthanc.find_study(one.study_instance_uid)
    for (level, keyword), uids in asked.items():
        found += _find(rest, level, keyword, uids)
    return found


def _find(rest: OrthancRest, level: str, keyword: str, uids: Sequence[str]) -> list[str]:
    """What has one of some UIDs, by lists of UIDs (PS3.4 §C.2.2.2.2)."""
    found: list[str] = []
    left = list(dict.fromkeys(uids))
    while left:
        some, left = left[:_TOGETHER], left[_TOGETHER:]
        entries = _matches(rest, level, keyword, some)
        found += [one["ID"] for one in entries]
        # Orthanc answers so many at most (LimitFindResults, LimitFindInstances), and does not say
        # that there are more: it is asked for the others until it has none of them.
        seen = {one.get("MainDicomTags", {}).get(keyword) for one in entries}
        if not seen.isdisjoint(some):
            left += [uid for uid in some if uid not in seen]
    return found


def _matches(
    rest: OrthancRest, level: str, keyword: str, uids: Sequence[str]
) -> list[dict[str, Any]]:
    question = {
        "Level": level,
        "Query": {keyword: "\\".join(uids)},
        "CaseSensitive": True,
        "Expand": True,
    }
    found: Any = rest.call("POST", "/tools/find", question)
    entries = found if isinstance(found, list) else []
    return [one for one in entries if isinstance(one, dict) and isinstance(one.get("ID"), str)]
