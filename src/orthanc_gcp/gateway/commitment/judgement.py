"""For which instances a store is responsible: those that are read back from it, and no others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.dicomweb.search import found_instance
from orthanc_gcp.ledger.commitments.rows import KnownInstance, ReferenceRow
from orthanc_gcp.ledger.schema import UNSETTLED, State

__all__ = ["Judge", "Verdict"]

# Failure Reason (0008,1197), PS3.3 §C.14.1.1.
PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"
_FEW = 4
"""So many instances of a series are asked for one by one; of more, the series is listed."""


class Verdict(Enum):
    """What is said of an instance, where it is no number of a failure."""

    COMMITTED = "committed"
    ON_ITS_WAY = "on their way to the store"
    IN_ORTHANC = "in Orthanc, which may send them yet"


@dataclass(frozen=True)
class _Found:
    """What a store says of an instance that it has."""

    study: str
    series: str
    sop_class: str


class Judge:
    """Judges the instances that one request refers to; what it has found in the store, once.

    Parameters
    ----------
    known
        SOP Instance UIDs -> what the ledger knows of them.
    in_orthanc
        SOP Instance UIDs -> those that Orthanc has.
    """

    def __init__(
        self,
        store: DicomStore,
        known: Callable[[Sequence[str]], Sequence[KnownInstance]],
        in_orthanc: Callable[[Sequence[str]], set[str]],
    ) -> None:
        self._store, self._known, self._in_orthanc = store, known, in_orthanc

    def judge(self, rows: Sequence[ReferenceRow]) -> dict[int, Verdict | int]:
        """What is to be said of some instances: a number is the reason of a failure.

        Raises
        ------
        StoreError
            The store cannot be searched.
        OrthancError
            Orthanc cannot be asked.
        SQLAlchemyError
            The ledger is away.
        """
        rows_of: dict[str, list[ReferenceRow]] = defaultdict(list)
        for row in rows:
            rows_of[row.sop_instance_uid].append(row)
        states: dict[str, set[str]] = defaultdict(set)
        places: dict[tuple[str, str], set[str]] = defaultdict(set)
        for one in self._known(list(rows_of)):
            states[one.sop_instance_uid].add(one.state)
            places[one.study_instance_uid, one.series_instance_uid].add(one.sop_instance_uid)
        said: dict[str, Verdict | int] = {}
        for uid in rows_of:
            early = _of_states(states[uid])
            if early is not None:
                said[uid] = early
        wanted = rows_of.keys() - said.keys()
        found = self._search(wanted, places)
        missing = sorted(wanted - found.keys())
        there = self._in_orthanc([uid for uid in missing if not states[uid]])
        for uid in missing:
            said[uid] = Verdict.IN_ORTHANC if uid in there else NO_SUCH_INSTANCE
        return {
            row.id: said[uid] if uid in said else _of_class(row, found[uid].sop_class)
            for uid, of_uid in rows_of.items()
            for row in of_uid
        }

    def _search(
        self, wanted: set[str], places: Mapping[tuple[str, str], set[str]]
    ) -> dict[str, _Found]:
        """Those of some instances that the store has."""
        found: dict[str, _Found] = {}
        for (study, series), members in places.items():
            if len(members & wanted) >= _FEW:
                self._list(study, series, wanted, found)
        for uid in sorted(wanted):
            if uid not in found:
                one = next(self._instances({_INSTANCE: uid}, {uid}), None)
                if one is not None:
                    found[uid] = one[1]
                    if len(wanted - found.keys()) >= _FEW:  # what it is beside, too
                        self._list(one[1].study, one[1].series, wanted, found)
        return found

    def _list(self, study: str, series: str, wanted: set[str], found: dict[str, _Found]) -> None:
        found |= self._instances({_STUDY: study, _SERIES: series}, wanted)

    def _instances(self, keys: Mapping[str, str], wanted: set[str]) -> Iterator[tuple[str, _Found]]:
        fields = {"includefield": ",".join((_STUDY, _SERIES, _CLASS))}
        for match in self._store.search("/instances", {**fields, **keys}, depth=3):
            named = found_instance(match)
            if named is not None and named.sop_instance_uid in wanted:
                values = match.get(_CLASS, {}).get("Value") or [""]
                yield (
                    named.sop_instance_uid,
                    _Found(named.study_instance_uid, named.series_instance_uid, str(values[0])),
                )


def _of_states(states: set[str]) -> Verdict | int | None:
    """What the ledger alone says: of what is on its way, the store may have what was before."""
    if states & set(UNSETTLED):
        return Verdict.ON_ITS_WAY
    if states & {State.QUARANTINED, State.DISMISSED} and State.CONFIRMED not in states:
        return PROCESSING_FAILURE
    return None


def _of_class(row: ReferenceRow, sop_class: str) -> Verdict | int:
    differs = sop_class and sop_class.strip(" \0") != row.sop_class_uid
    return CLASS_CONFLICT if differs else Verdict.COMMITTED
