"""What a store lists of a study, a series or an instance (PS3.18 §10.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.dicomweb.search import found_uids
from orthanc_gcp.ledger.retrievals.rows import Listed, Resource
from orthanc_gcp.ledger.uids import uid_fault

__all__ = ["listed"]

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_ROWS, _COLUMNS, _BITS, _FRAMES = "00280010", "00280011", "00280100", "00280008"
_WITHOUT_PIXELS = 8 * 1024
_LARGEST = 1 << 40


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
    fields = {"includefield": f"{_STUDY},{_SERIES},{_ROWS},{_COLUMNS},{_BITS},{_FRAMES}"}
    for match in store.search("/instances", {**fields, **keys}, depth=3):
        found = found_uids(match, 3)
        if found is None:
            continue
        study, series, instance = found
        if resource.has((study, series, instance)):
            fault = uid_fault(study, series, instance)
            yield Listed((study, series, instance), estimated_size(match), fault)


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
