"""For which instances a store is responsible: those whose newest version was confirmed there.

That a store has something under the same UIDs proves nothing: it may be an older version. So the
ledger has to have confirmed the very file that was received last, and the store to show it still.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
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
    IN_ORTHANC = "in Orthanc, which may send them, or another version of them, yet"


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
        SOP Instance UIDs -> those that Orthanc has, each with the UUIDs of its files.
    """

    def __init__(
        self,
        store: DicomStore,
        known: Callable[[Sequence[str]], Sequence[KnownInstance]],
        in_orthanc: Callable[[Sequence[str]], Mapping[str, Set[str]]],
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
        versions: dict[str, list[KnownInstance]] = defaultdict(list)
        places: dict[tuple[str, str], set[str]] = defaultdict(set)
        for one in self._known(list(rows_of)):
            versions[one.sop_instance_uid].append(one)
            places[one.study_instance_uid, one.series_instance_uid].add(one.sop_instance_uid)
        there = self._in_orthanc(sorted(rows_of))
        said: dict[str, Verdict | int] = {}
        for uid in rows_of:
            early = _of_ledger(versions[uid], there.get(uid, frozenset()))
            if early is not None:
                said[uid] = early
        wanted = rows_of.keys() - said.keys()
        found = self._search(wanted, places)
        said |= dict.fromkeys(wanted - found.keys(), NO_SUCH_INSTANCE)
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


def _of_ledger(versions: Sequence[KnownInstance], files: Set[str]) -> Verdict | int | None:
    """What is said of an instance, unless the store is to be searched for it.

    Parameters
    ----------
    versions
        What the ledger knows of it, the version that was received last at the end.
    files
        What Orthanc has of it.
    """
    if any(one.state in UNSETTLED for one in versions):
        return Verdict.ON_ITS_WAY
    newest = next((one for one in reversed(versions) if one.state != State.SUPERSEDED), None)
    if newest is not None and newest.state in (State.QUARANTINED, State.DISMISSED):
        return PROCESSING_FAILURE
    if newest is None or newest.state != State.CONFIRMED:
        return Verdict.IN_ORTHANC if files else NO_SUCH_INSTANCE
    # A file that the ledger does not know was received, and not looked at yet.
    known = {one.attachment_uuid for one in versions if one.state == State.CONFIRMED}
    unknown = files - known - {""}
    return Verdict.IN_ORTHANC if unknown and "" not in known else None


def _of_class(row: ReferenceRow, sop_class: str) -> Verdict | int:
    differs = sop_class and sop_class.strip(" \0") != row.sop_class_uid
    return CLASS_CONFLICT if differs else Verdict.COMMITTED
