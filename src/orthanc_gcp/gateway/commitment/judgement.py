"""For which instances a store is responsible: those whose newest version was confirmed there.

That a store has something under the same UIDs proves nothing: it may be an older version. So the
ledger has to have confirmed the very file that was received last, and the store to show it still,
in the same study and series.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from enum import Enum

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.dicomweb.search import FoundInstance, found_instance
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
        for one in self._known(list(rows_of)):
            versions[one.sop_instance_uid].append(one)
        there = self._in_orthanc(sorted(rows_of))
        said: dict[str, Verdict | int] = {}
        confirmed: dict[str, set[FoundInstance]] = {}
        for uid in rows_of:
            judged = _of_ledger(versions[uid], there.get(uid, frozenset()))
            if isinstance(judged, set):
                confirmed[uid] = judged
            else:
                said[uid] = judged
        found = self._search(set().union(*confirmed.values()))
        for uid, instances in confirmed.items():
            if instances - found.keys():
                said[uid] = NO_SUCH_INSTANCE
        return {
            row.id: said[uid]
            if uid in said
            else _of_class(row, [found[one] for one in confirmed[uid]])
            for uid, of_uid in rows_of.items()
            for row in of_uid
        }

    def _search(self, wanted: Set[FoundInstance]) -> dict[FoundInstance, str]:
        """Those of some instances that the store has, each with its SOP class."""
        found: dict[FoundInstance, str] = {}
        series: dict[tuple[str, str], set[FoundInstance]] = defaultdict(set)
        for one in wanted:
            series[one.study_instance_uid, one.series_instance_uid].add(one)
        for (study, uid), members in series.items():
            keys = {_STUDY: study, _SERIES: uid}
            if len(members) >= _FEW:
                found |= self._instances(keys, members)
            for one in sorted(members - found.keys()):
                found |= self._instances({**keys, _INSTANCE: one.sop_instance_uid}, {one})
        return found

    def _instances(
        self, keys: Mapping[str, str], wanted: Set[FoundInstance]
    ) -> Iterator[tuple[FoundInstance, str]]:
        fields = {"includefield": ",".join((_STUDY, _SERIES, _CLASS))}
        for match in self._store.search("/instances", {**fields, **keys}, depth=3):
            named = found_instance(match)
            if named is not None and named in wanted:
                values = match.get(_CLASS, {}).get("Value") or [""]
                yield named, str(values[0])


def _of_ledger(
    versions: Sequence[KnownInstance], files: Set[str]
) -> Verdict | int | set[FoundInstance]:
    """What is said of a SOP Instance UID; or the instances that the store has to have for it.

    The same UID in another study or series is another instance, and a request does not say which
    is meant: all that were not deleted before they were sent have to be confirmed.

    Parameters
    ----------
    versions
        What the ledger knows of it, the version that was received last at the end.
    files
        What Orthanc has of it.
    """
    if any(one.state in UNSETTLED for one in versions):
        return Verdict.ON_ITS_WAY
    newest: dict[FoundInstance, str] = {}
    for one in versions:
        instance = FoundInstance(
            one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid
        )
        if one.state != State.SUPERSEDED or instance not in newest:
            newest[instance] = one.state
    wanted = {one: state for one, state in newest.items() if state != State.WITHDRAWN}
    if any(state in (State.QUARANTINED, State.DISMISSED) for state in wanted.values()):
        return PROCESSING_FAILURE
    if not wanted or any(state != State.CONFIRMED for state in wanted.values()):
        return Verdict.IN_ORTHANC if files else NO_SUCH_INSTANCE
    # A file that the ledger does not know was received, and not looked at yet.
    # What was gone from Orthanc and is back is looked at again, too.
    gone = State.WITHDRAWN, State.LOST
    known = {one.attachment_uuid for one in versions if one.state not in gone}
    unknown = files - known - {""}
    return Verdict.IN_ORTHANC if unknown and "" not in known else set(wanted)


def _of_class(row: ReferenceRow, sop_classes: Iterable[str]) -> Verdict | int:
    differs = any(one and one.strip(" \0") != row.sop_class_uid for one in sop_classes)
    return CLASS_CONFLICT if differs else Verdict.COMMITTED
