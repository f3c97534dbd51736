"""What a C-MOVE or C-GET is for, and what a store lists of that (PS3.4 §C.4.2.2.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from orthanc_gcp.dicomweb import query as store_query
from orthanc_gcp.dicomweb.matching import Key, is_wild
from orthanc_gcp.dicomweb.query import Query, QueryResult
from orthanc_gcp.dicomweb.readable import SearchableStore
from orthanc_gcp.dicomweb.search import SIZE_FIELDS, estimated_size, found_uids
from orthanc_gcp.gateway.answer import values_of
from orthanc_gcp.gateway.request import IdentifierError, Level, read_request
from orthanc_gcp.gateway.retrieve.sub_operations import Instance

__all__ = ["Fetch", "fetches", "listed", "read_keys"]

_STUDY_UID, _SERIES_UID, _INSTANCE_UID = "0020000D", "0020000E", "00080018"
_KEYS = {
    Level.PATIENT: ("00100020",),
    Level.STUDY: (_STUDY_UID,),
    Level.SERIES: (_SERIES_UID, _STUDY_UID),
    Level.IMAGE: (_INSTANCE_UID, _SERIES_UID, _STUDY_UID),
}
"""The unique key of each level, and those above it that count."""
_SOP_CLASS, _UID = "00080016", re.compile("[0-9.]{1,64}")
SMALL = 256 * 1024
"""Bytes of a mean instance up to which a series, or a study, comes by one request."""
MOST_TOGETHER = 64 * 1024 * 1024


@dataclass(frozen=True)
class Fetch:
    """One request to a store: for some instances of a series or study, or for one.

    Attributes
    ----------
    study, series
        What is asked for, where it is not one instance alone.
    transfer_syntax
        The one that it is to come in; ``*`` for the file as it is stored.
    pause
        Seconds to wait before it is made.
    """

    instances: tuple[Instance, ...]
    study: str = ""
    series: str | None = None
    transfer_syntax: str = "*"
    pause: float = 0.0


def read_keys(identifier: bytes, is_implicit: bool, levels: Collection[Level]) -> tuple[Key, ...]:
    """What has to match: the unique key of the level, and the UIDs above it that are given.

    A patient ID above the level that is asked for is passed over, as Orthanc does: UIDs say which
    study it is, and what a workstation calls its patient may have been corrected there.

    Raises
    ------
    IdentifierError
        It is no identifier of a retrieval.
    """
    request = read_request(identifier, is_implicit, levels)
    wanted = _KEYS[request.level]
    keys = tuple(key for key in request.keys if len(key.path) == 1 and key.tag in wanted)
    if not any(key.tag == wanted[0] and key.values for key in keys):
        raise IdentifierError(f"there is no value of the unique key of {request.level}")
    if any(is_wild(value) for key in keys for value in key.values):
        raise IdentifierError("wildcards retrieve nothing")
    return keys


def listed(
    store: SearchableStore,
    keys: tuple[Key, ...],
    stop: Callable[[], bool],
    pool: Executor | None = None,
) -> Iterator[Instance]:
    """The instances that a store lists, as they are found; each once.

    Raises
    ------
    StoreError
        The store refused, or its answer was lost or is none of a search: what came is not all.
    """
    shared: dict[str, str] = {}  # UIDs of studies, series and classes, once for all instances
    query = Query(store_query.Level.INSTANCE, keys, SIZE_FIELDS)
    for match in store_query.find(store, query, QueryResult(), stop, pool):
        uids = found_uids(match, 3)
        if uids is not None:
            study, series, sop_class = (
                shared.setdefault(uid, uid) for uid in (*uids[:2], _sop_class(match))
            )
            yield Instance((study, series, uids[2]), estimated_size(match), sop_class)


def fetches(instances: Sequence[Instance], is_whole: bool) -> Iterator[Fetch]:
    """The requests for what is listed: many small ones together, large ones each by itself.

    Parameters
    ----------
    instances
        Study by study, and series by series.
    is_whole
        Whether these are all that there are in their series.
    """
    for (study, series), group in groupby(instances, key=lambda one: one.uids[:2]):
        own = tuple(group)
        total = sum(one.size_bytes for one in own)
        small = total <= SMALL * len(own) and total <= MOST_TOGETHER
        if is_whole and small and len({one.uids[2] for one in own}) == len(own) > 1:
            yield Fetch(own, study, series)
        else:
            yield from (Fetch((one,)) for one in own)


def _sop_class(match: Mapping[str, Any]) -> str:
    values = values_of(match, _SOP_CLASS)
    found = values[0] if len(values) == 1 else None
    return found if isinstance(found, str) and _UID.fullmatch(found) else ""
