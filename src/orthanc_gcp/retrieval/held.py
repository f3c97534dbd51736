"""What Orthanc has of a study, a series or an instance, by DICOM's UIDs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orthanc_gcp.ledger.retrievals.rows import Arrived, Resource
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["held"]

_PORTION = 200
_TRIES = 3
_PATTERN = frozenset("*?\\")
"""What a query takes for more than one UID."""


def held(rest: OrthancRest, orthanc: OrthancSource, resource: Resource) -> Iterator[list[Arrived]]:
    """The instances that Orthanc has of a resource, some at once; maybe others beside them.

    Raises
    ------
    OrthancError
        Orthanc is away, or refuses.
    """
    instances = _instances(rest, orthanc, resource)
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


def _instances(rest: OrthancRest, orthanc: OrthancSource, resource: Resource) -> list[str]:
    """Their identifiers in Orthanc."""
    for _ in range(_TRIES):
        try:
            return orthanc.members(_parents(rest, orthanc, resource))
        except KeyError:  # one was deleted meanwhile
            continue
    return []


def _parents(rest: OrthancRest, orthanc: OrthancSource, resource: Resource) -> list[str]:
    """What has them, as near as it can be asked for: several patients may have the same UIDs."""
    if resource.sop_instance_uid and not _PATTERN & set(resource.sop_instance_uid):
        return _find(rest, "Instance", "SOPInstanceUID", resource.sop_instance_uid)
    if resource.series_instance_uid and not _PATTERN & set(resource.series_instance_uid):
        return _find(rest, "Series", "SeriesInstanceUID", resource.series_instance_uid)
    return orthanc.find_study(resource.study_instance_uid)


def _find(rest: OrthancRest, level: str, keyword: str, uid: str) -> list[str]:
    question = {"Level": level, "Query": {keyword: uid}, "CaseSensitive": True}
    found: Any = rest.call("POST", "/tools/find", question)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
