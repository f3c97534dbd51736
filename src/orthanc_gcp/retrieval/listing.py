"""What a store lists of a study, a series or an instance (PS3.18 §10.6)."""

from __future__ import annotations

from collections.abc import Iterator

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.dicomweb.search import SIZE_FIELDS, estimated_size, found_uids
from orthanc_gcp.ledger.retrievals.rows import Listed, Resource
from orthanc_gcp.ledger.uids import uid_fault

__all__ = ["listed"]

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_FIELDS = ",".join((_STUDY, _SERIES, *SIZE_FIELDS))


def listed(store: DicomStore, resource: Resource) -> Iterator[Listed]:
    """The instances that a store lists, page by page; one may come twice.

    What it names beside those that it was asked for is left out.

    Raises
    ------
    StoreError
        The store refused, or its answer was lost or is none of a search: what came is not all.
    """
    wanted = {
        _STUDY: resource.study_instance_uid,
        _SERIES: resource.series_instance_uid,
        _INSTANCE: resource.sop_instance_uid,
    }
    keys = {tag: uid for tag, uid in wanted.items() if uid is not None}
    for match in store.search("/instances", {"includefield": _FIELDS, **keys}, depth=3):
        found = found_uids(match, 3)
        if found is None:
            continue
        study, series, instance = found
        if resource.has((study, series, instance)):
            fault = uid_fault(study, series, instance)
            yield Listed((study, series, instance), estimated_size(match), fault)
