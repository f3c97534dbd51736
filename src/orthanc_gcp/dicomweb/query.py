"""Queries as DICOM has them (PS3.4 §C.2.2.2), over the narrow search of a store.

Google's search knows a few keys, each compared as a whole ("DICOM conformance statement", QIDO-RS).
What it can decide is asked of it; the rest is decided here, on what it returns, page by page.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from itertools import chain, islice
from typing import Any

from pydicom.datadict import dictionary_VR

from orthanc_gcp.dicomweb.client import PAGE
from orthanc_gcp.dicomweb.matching import Key, is_wild, matcher_of, tag_of
from orthanc_gcp.dicomweb.readable import SearchableStore
from orthanc_gcp.dicomweb.search import found_uids

__all__ = ["Level", "Query", "QueryResult", "find", "is_searchable"]

MOST_SEARCHES = 8
"""So many values of one key are asked for one by one where another key leaves few; of more, these
are read, and chosen from.
"""
_AHEAD = 8
"""So many searches have their first page read before it is their turn."""
_LOOK_EVERY = 0.1
_STUDY_UID, _SERIES_UID, _INSTANCE_UID = "0020000D", "0020000E", "00080018"
_PATIENT_NAME, _STUDY_DATE, _MODALITY = "00100010", "00080020", "00080060"
_MODALITIES_IN_STUDY = "00080061"
_RARE = frozenset({_STUDY_UID, _SERIES_UID, _INSTANCE_UID, "00100020", "00080050"})
"""Few images have the same value of these: beside UIDs, Patient ID and Accession Number."""
_TOKEN = re.compile(r"(?:^|[\^ ])([A-Za-z0-9]+)")
"""What a word of a name begins with, however words are told apart."""


_Match = Mapping[str, Any]


class Level(StrEnum):
    """What a query is for."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"

    @property
    def path(self) -> str:
        """The resource that is searched (PS3.18 §10.6.1)."""
        return {"study": "/studies", "series": "/series", "instance": "/instances"}[self.value]

    @property
    def uids(self) -> tuple[str, ...]:
        """The tags of the UIDs that tell its matches apart."""
        every = (_STUDY_UID, _SERIES_UID, _INSTANCE_UID)
        return every[: list(Level).index(self) + 1]


_KEYS = {
    Level.STUDY: frozenset(
        {_STUDY_UID, _PATIENT_NAME, "00100020", "00080050", "00080090", _STUDY_DATE}
    ),
    Level.SERIES: frozenset({_SERIES_UID, _MODALITY}),
    Level.INSTANCE: frozenset({_INSTANCE_UID}),
}
"""What Google searches by at each level, and at those below."""
_RETURNED = {
    Level.STUDY: (
        "SpecificCharacterSet StudyDate StudyTime AccessionNumber ReferringPhysicianName "
        "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID "
        "PersonAddress PersonTelephoneNumbers PersonTelecomInformation InstitutionName "
        "InstitutionAddress ConsultingPhysicianName LocalNamespaceEntityID UniversalEntityID "
        "UniversalEntityIDType StudyDescription PhysiciansOfRecord NameOfPhysiciansReadingStudy"
    ),
    Level.SERIES: (
        "Modality SeriesDescription SeriesInstanceUID PerformedProcedureStepStartDate "
        "PerformedProcedureStepStartTime RequestAttributesSequence SeriesNumber Laterality "
        "SeriesDate SeriesTime"
    ),
}
"""What Google returns of each level, where an image has it; of instances, all that they have."""
_NEVER_RETURNED = frozenset({"00080052", "00080054", "00083002"}) | {
    f"{number:08X}" for number in range(0x00201200, 0x00201210)
}
"""What the standard has in queries only; a store refuses a search that asks for one of them."""
_ANY_CASE = frozenset({"00080090"})
"""Names are compared here: the case of letters must not count, and may there."""


@dataclass(frozen=True)
class Query:
    """What is looked for.

    Attributes
    ----------
    keys
        What has to match, all of it.
    fields
        The tags of what else is wanted of each match, beside what the store gives by itself.
    """

    level: Level
    keys: tuple[Key, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def search_level(self) -> Level:
        """The level that is searched: a study's modalities are those of its series."""
        of_series = any(key.tag in (_MODALITIES_IN_STUDY, _MODALITY) for key in self.keys)
        return Level.SERIES if self.level is Level.STUDY and of_series else self.level

    @property
    def filters(self) -> tuple[Key, ...]:
        """The keys as they are matched against what a search returns."""
        below = self.search_level is not Level.STUDY
        return tuple(
            replace(key, path=(_MODALITY,))
            if below and key.path == (_MODALITIES_IN_STUDY,)
            else key
            for key in self.keys
            if not key.is_universal
        )

    def searches(self) -> list[dict[str, str]]:
        """The searches that find what matches, each once or more, and maybe what does not."""
        known = frozenset(chain(*(_KEYS[one] for one in _levels_to(self.search_level))))
        asked: dict[str, str] = {}
        lists: dict[str, tuple[str, ...]] = {}
        for key in self.filters:
            if len(key.path) > 1 or key.tag not in known or key.tag in _ANY_CASE:
                continue
            if key.tag == _PATIENT_NAME:
                asked |= _by_name(key)
            elif any(map(is_wild, key.values)) or any(map(_is_odd, key.values)):
                continue
            elif len(key.values) == 1 and key.tag not in asked:
                asked[key.tag] = _closed(key)
            elif len(key.values) > 1 and key.tag != _STUDY_DATE:
                lists.setdefault(key.tag, tuple(dict.fromkeys(key.values)))
        return [{**self._fields(), **asked, **one} for one in _one_by_one(lists, asked)]

    def _fields(self) -> dict[str, str]:
        tags = [*self.search_level.uids[:-1], *(key.tag for key in self.filters), *self.fields]
        wanted = [tag for tag in dict.fromkeys(tags) if tag != _MODALITIES_IN_STUDY]
        return {"includefield": ",".join(wanted)} if wanted else {}


@dataclass
class QueryResult:
    """What became of a query so far.

    Attributes
    ----------
    read
        How many objects the store has returned.
    matches
        How many of them match, each once.
    unseen
        The tags of keys that none of these has had, though images may: a store does not return
        everything at every level, so that nothing can be said of them.
    """

    read: int = 0
    matches: int = 0
    unseen: set[str] = field(default_factory=set)


def find(
    store: SearchableStore,
    query: Query,
    result: QueryResult | None = None,
    stop: Callable[[], bool] = lambda: False,
    pool: Executor | None = None,
) -> Iterator[Mapping[str, Any]]:
    """What matches, in the DICOM JSON model, as it is found; each once.

    What is asked for value by value comes in the order of the values; otherwise there is none.
    Memory grows by some bytes for each match.

    Parameters
    ----------
    result
        Is brought up to date meanwhile.
    stop
        Ends it by returning True; it is asked with each object that the store returns, and while
        the store is waited for where there is a pool.
    pool
        Where several searches go on at once, if there are several: at most as many as the store
        has connections.

    Raises
    ------
    StoreError
        The store refused, or its answer was lost or is none of a search, or there are more than a
        search can reach: what came before is not all.
    """
    told = result if result is not None else QueryResult()
    told.unseen = {key.tag for key in query.filters} - _returned(query.search_level)
    seen: set[int] = set()
    matches, depth = matcher_of(query.filters), len(query.level.uids)
    for match in _searched(store, query, stop, pool):
        if stop():
            return
        told.read += 1
        told.unseen -= match.keys()
        name = hash(found_uids(match, depth))
        if name in seen or not matches(match):
            continue
        seen.add(name)
        told.matches += 1
        yield match


def _searched(
    store: SearchableStore, query: Query, stop: Callable[[], bool], pool: Executor | None
) -> Iterator[_Match]:
    """What the searches of a query find, one search after the other."""
    path, depth = query.search_level.path, len(query.level.uids)
    searches = query.searches()
    found = (store.search(path, one, depth=depth) for one in searches)
    if pool is not None and len(searches) > 1:
        yield from _side_by_side(found, min(_AHEAD, store.connections), stop, pool)
        return
    for one in found:
        if stop():
            return
        yield from one


def _side_by_side(
    searches: Iterator[Iterator[_Match]], most: int, stop: Callable[[], bool], pool: Executor
) -> Iterator[_Match]:
    """What some searches find, in their order; so many have their first page read meanwhile."""
    ahead: deque[tuple[Iterator[_Match], Future[list[_Match]]]] = deque()
    try:
        while True:
            for one in islice(searches, most - len(ahead)):
                ahead.append((one, pool.submit(_first_page, one)))
            if not ahead or stop():
                return
            rest, first = ahead[0]
            if wait([first], _LOOK_EVERY).done:
                ahead.popleft()
                yield from first.result()
                yield from rest
    finally:
        for _, first in ahead:
            first.cancel()


def _first_page(search: Iterator[_Match]) -> list[_Match]:
    """The matches that one request brings."""
    return list(islice(search, PAGE))


def is_searchable(tag: str, level: Level) -> bool:
    """Whether something can be said of an attribute at a level, from what a store returns there.

    Of instances, a store returns what the standard knows, without bulk data.
    """
    if level is not Level.INSTANCE:
        of_series = level is Level.STUDY and tag in (_MODALITIES_IN_STUDY, _MODALITY)
        return of_series or tag in (*level.uids, _MODALITIES_IN_STUDY) or tag in _returned(level)
    number = int(tag, 16)
    try:
        bulk = dictionary_VR(number)[:2] in ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
    except KeyError:
        return False
    return not bulk and number >> 16 >= 8 and not number >> 16 & 1 and tag not in _NEVER_RETURNED


@cache
def _returned(level: Level) -> frozenset[str]:
    """The tags of what a store returns wherever an image has it."""
    names = " ".join(_RETURNED.get(one, "") for one in _levels_to(level))
    return frozenset(map(tag_of, names.split()))


def _levels_to(level: Level) -> Sequence[Level]:
    every = list(Level)
    return every[: every.index(level) + 1]


def _one_by_one(
    lists: Mapping[str, tuple[str, ...]], asked: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """What is asked for in turn, beside what is asked for each time: the values of one list."""

    def order(tag: str) -> tuple[bool, int]:
        return tag not in _RARE, len(lists[tag])

    tag = min((one for one in lists if one not in asked), key=order, default=None)
    if tag is None or (
        len(lists[tag]) > MOST_SEARCHES and (tag not in _RARE or _RARE & set(asked))
    ):
        yield {}
    else:
        yield from ({tag: value} for value in lists[tag])


def _by_name(key: Key) -> dict[str, str]:
    """A search for more names than those that match: by how one of their words begins.

    Google compares names as a whole, or word by word and without regard to case
    (``fuzzymatching``): then one that begins as any word of the search does is found.
    """
    if len(key.values) != 1:
        return {}
    begins = [found[1] for found in _TOKEN.finditer(key.values[0].partition("=")[0])]
    return {_PATIENT_NAME: max(begins, key=len), "fuzzymatching": "true"} if begins else {}


def _closed(key: Key) -> str:
    """A value as a search takes it: a range of dates has both ends."""
    value = key.values[0]
    if key.tag != _STUDY_DATE or "-" not in value:
        return value
    first, last = (part.strip() for part in value.split("-", 1))
    return f"{first or '00010101'}-{last or '99991231'}"


def _is_odd(value: str) -> bool:
    """Whether a value might be taken for several, or cannot be sent."""
    return "," in value or not value.isprintable()
