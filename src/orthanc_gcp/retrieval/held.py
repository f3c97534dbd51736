"""What Orthanc has of studies, series and instances, by DICOM's UIDs or by its own identifiers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from orthanc_gcp.ledger.retrievals.rows import Arrived, Resource
from orthanc_gcp.orthanc.by_uid import can_be_asked_for, find_by_uid
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["described", "held"]

_PORTION = 200
_TRIES = 3


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
        if can_be_asked_for(one.sop_instance_uid):
            asked["Instance", "SOPInstanceUID"].append(one.sop_instance_uid)
        elif can_be_asked_for(one.series_instance_uid):
            asked["Series", "SeriesInstanceUID"].append(one.series_instance_uid)
        elif can_be_asked_for(one.study_instance_uid):
            asked["Study", "StudyInstanceUID"].append(one.study_instance_uid)
        else:
            found += orthanc.find_study(one.study_instance_uid)
    for (level, keyword), uids in asked.items():
        found += [one["ID"] for one in find_by_uid(rest, level, keyword, uids)]
    return found
