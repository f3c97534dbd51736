"""The patients of which something is not confirmed yet, and whether they are protected.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sql

from orthanc_gcp.ledger.database import upsert
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import (
    IN_NEED,
    UNSENT,
    Guard,
    State,
    patient_studies,
    patients,
    transfers,
)
from orthanc_gcp.ledger.versions import reopen_versions
from orthanc_gcp.reasons import TransferReason

__all__ = ["COVERED", "UNPROTECTED", "Patient", "Patients", "Total", "UnprotectedRow"]

COVERED = (Guard.BEGUN, Guard.OWN, Guard.FOREIGN)
"""Protected, or at any moment now."""
UNPROTECTED = (
    Guard.NO_ROOM,
    Guard.REFUSED,
    Guard.BEGUN_REFUSED,
    Guard.REMOVED,
    Guard.GONE,
    Guard.BEGUN_GONE,
)
"""As far as is known."""
_TO_BE_TRIED = (Guard.WANTED, Guard.NO_ROOM, Guard.REFUSED, Guard.BEGUN_REFUSED)
_SEEN = (Guard.OWN, Guard.FOREIGN, Guard.GONE, Guard.BEGUN_GONE)
"""What is known since a moment."""
_DELETED = (Guard.OWN_DELETED, Guard.FOREIGN_DELETED)
_ON_ITS_WAY = (Guard.WANTED, Guard.BEGUN)
_BACK = (*_ON_ITS_WAY, Guard.OWN, Guard.FOREIGN)
"""What becomes of one that was deleted, and is received again: it was never seen unprotected."""
_LEFT = (State.HELD, State.WAITING, State.DELAYED, State.QUARANTINED)
"""The states of what may be lost; what is being sent is looked at by those who send it."""
_SOON = 60.0
"""Seconds within which an instance that was written down is protected, where all goes well."""
_ROWS = 1000


@dataclass(frozen=True)
class Patient:
    """A patient of an index of Orthanc, by Orthanc's identifier.

    Attributes
    ----------
    since
        When it was seen to be protected, or gone, in seconds since 1970, UTC; None while it is
        neither. What was protected until somebody has deleted it keeps that, once it is back.
    size_bytes
        What it takes of Orthanc's storage, as far as is known.
    """

    orthanc_id: str
    guard: Guard
    since: float | None
    size_bytes: int


@dataclass(frozen=True)
class UnprotectedRow:
    """An instance that is not confirmed, of which the patient is not known with its study."""

    id: int
    orthanc_id: str
    study_instance_uid: str


class Total(NamedTuple):
    """So many patients, and what they take of Orthanc's storage."""

    patients: int
    size_bytes: int


class Patients:
    """A patient is written down here before it is protected: a crash forgets none."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(
        self, source: str, studies: Mapping[str, Collection[str]], sizes: Mapping[str, int]
    ) -> list[Patient]:
        """These studies of some patients have instances that are not confirmed.

        Parameters
        ----------
        studies
            Patient -> Study Instance UIDs.
        sizes
            Patient -> the bytes that it takes in addition to what was known.

        Returns
        -------
        list of Patient
            As they are by now, in their order.
        """
        new = [
            {
                "source": source,
                "orthanc_id": name,
                "guard": Guard.WANTED,
                "since": None,
                "size_bytes": sizes.get(name, 0),
            }
            for name in sorted(studies)
        ]
        links = [
            {"source": source, "study_instance_uid": study, "orthanc_id": name}
            for name, of_patient in sorted(studies.items())
            for study in sorted(of_patient)
        ]
        statement = upsert(self._ledger.engine.dialect.name, patients)
        grown = patients.c.size_bytes + statement.excluded.size_bytes
        link = upsert(self._ledger.engine.dialect.name, patient_studies).on_conflict_do_nothing()
        with self._ledger.writing() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["source", "orthanc_id"], set_={"size_bytes": grown}
                ),
                new,
            )
            connection.execute(link, links)
            return _read(connection, source, list(studies))

    def set_patients(self, patients_of: Mapping[int, str]) -> None:
        """Of which patients some rows are, by their ids."""
        changes = [{"number": row, "name": name} for row, name in sorted(patients_of.items())]
        if not changes:
            return
        statement = (
            transfers.update()
            .where(
                transfers.c.id == sql.bindparam("number"),
                transfers.c.patient_orthanc_id.is_(None),
            )
            .values(patient_orthanc_id=sql.bindparam("name"))
        )
        with self._ledger.writing() as connection:
            connection.execute(statement, changes)

    def page(self, source: str, after: str, limit: int) -> list[Patient]:
        """The next patients of an index, by Orthanc's identifier."""
        query = (
            sql.select(patients)
            .where(patients.c.source == source, patients.c.orthanc_id > after)
            .order_by(patients.c.orthanc_id)
            .limit(limit)
        )
        with self._ledger.reading() as connection:
            return [_patient(row) for row in connection.execute(query)]

    def in_need(self, source: str, names: Sequence[str]) -> set[str]:
        """Those of some patients of which something is not confirmed, by whatever account."""
        query = sql.select(patients.c.orthanc_id).where(
            patients.c.source == source, patients.c.orthanc_id.in_(names), _is_in_need()
        )
        with self._ledger.reading() as connection:
            return set(connection.scalars(query))

    def set_guards(self, source: str, guards: Mapping[str, Guard]) -> None:
        """What is known of some patients by now; one that is deleted was protected until then."""
        now, mine = self._ledger.now(), patients.c.source == source
        changes = [
            {"name": name, "value": guard, "moment": now if guard in _SEEN else None}
            for name, guard in guards.items()
        ]
        if not changes:
            return
        value, since = sql.bindparam("value", type_=sql.Text), patients.c.since
        moment = sql.bindparam("moment", type_=sql.Float)
        is_back = _is(value, _BACK) & _is(patients.c.guard, (*_DELETED, *_ON_ITS_WAY))
        kept = sql.case(
            (_is(value, _DELETED), since),
            (is_back, sql.func.coalesce(since, moment)),
            else_=moment,
        )
        statement = (
            patients.update()
            .where(mine, patients.c.orthanc_id == sql.bindparam("name"))
            .values(guard=value, since=kept)
        )
        with self._ledger.writing() as connection:
            connection.execute(statement, changes)

    def own(self, source: str, names: Collection[str]) -> set[str]:
        """These were protected by us just now; those of which that is meant to be still.

        What another worker has found protected meanwhile is ours already.
        """
        mine = patients.c.source == source, patients.c.orthanc_id.in_(names)
        now = self._ledger.now()
        with self._ledger.writing() as connection:
            connection.execute(
                patients.update()
                .where(*mine, patients.c.guard == Guard.BEGUN)
                .values(guard=Guard.OWN, since=sql.func.coalesce(patients.c.since, now))
            )
            query = sql.select(patients.c.orthanc_id).where(*mine, patients.c.guard == Guard.OWN)
            return set(connection.scalars(query))

    def question(self, source: str, names: Collection[str]) -> None:
        """We take our protection of these away: whether they have it still is to be asked for."""
        with self._ledger.writing() as connection:
            _question(connection, source, names)

    def set_sizes(self, source: str, sizes: Mapping[str, int]) -> None:
        """What some patients take of Orthanc's storage."""
        changes = [{"name": name, "size": size} for name, size in sizes.items()]
        statement = (
            patients.update()
            .where(patients.c.source == source, patients.c.orthanc_id == sql.bindparam("name"))
            .values(size_bytes=sql.bindparam("size"))
        )
        with self._ledger.writing() as connection:
            connection.execute(statement, changes)

    def known_of(self, source: str, names: Sequence[str]) -> set[str]:
        """Those of some patients that are written down here."""
        with self._ledger.reading() as connection:
            return {one.orthanc_id for one in _read(connection, source, names)}

    def known(self) -> bool:
        """Whether there are any, of whatever index."""
        with self._ledger.reading() as connection:
            return connection.execute(sql.select(patients.c.source).limit(1)).first() is not None

    def forget(self, source: str, names: Collection[str]) -> None:
        """Nothing of these patients is to be protected by us any more.

        What another worker has protected anew meanwhile stays known, and is to be asked for.
        """
        mine = patients.c.source == source, patients.c.orthanc_id.in_(names)
        of, kept = patient_studies.c, sql.select(patients.c.orthanc_id).where(*mine)
        with self._ledger.writing() as connection:
            connection.execute(patients.delete().where(*mine, patients.c.guard != Guard.OWN))
            connection.execute(
                patient_studies.delete().where(
                    of.source == source, of.orthanc_id.in_(names), of.orthanc_id.not_in(kept)
                )
            )
            _question(connection, source, names)

    def lose(self, source: str, absent_since: Mapping[str, float]) -> dict[tuple[str, str], int]:
        """Orthanc does not have these patients any more, and may have recycled them.

        Parameters
        ----------
        absent_since
            Patient -> since when, in seconds since 1970.

        Returns
        -------
        dict
            (account, Study Instance UID) -> how many instances are lost by it.
        """
        of, now = transfers.c, self._ledger.now()
        with self._ledger.writing() as connection:
            mine = _unsent_of(source, list(absent_since)).with_for_update()
            rows = connection.execute(mine).all()
            for some in portions([row.id for row in rows], MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(of.id.in_(some), of.state.in_(_LEFT))
                    .values(
                        {
                            **UNSENT,
                            "state": State.LOST,
                            "reason": TransferReason.RECYCLED,
                            "detail": "Orthanc has its patient no more, which was not protected",
                            "absent_since": min(absent_since.values()),
                            "held_for_orthanc_id": None,
                        }
                    )
                )
                add_for(connection, now, some, State.LOST)
                reopen_versions(connection, now, some)
        return Counter((row.account, row.study_instance_uid) for row in rows)

    def written_down_lately(self, source: str, names: Sequence[str]) -> dict[int, str]:
        """What a protection of these patients would cover that begins only now.

        Returns
        -------
        dict
            Its rows, by their ids -> the instances, by Orthanc's identifiers.
        """
        lately = transfers.c.queued_at >= self._ledger.now() - _SOON
        with self._ledger.reading() as connection:
            rows = connection.execute(_unsent_of(source, names).where(lately)).all()
        return {row.id: row.orthanc_id for row in rows}

    def note_absent(self, rows: Sequence[int]) -> None:
        """Orthanc does not have the instances of these rows, maybe since they were written down."""
        of = transfers.c
        with self._ledger.writing() as connection:
            for some in portions(rows, MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(of.id.in_(some), of.state.in_(_LEFT), of.absent_since.is_(None))
                    .values(absent_since=of.queued_at)
                )

    def copy(self, source: str, to: str) -> None:
        """An index is a copy of another: what is protected in that one is protected in it, too."""
        with self._ledger.writing() as connection:
            for table in (patients, patient_studies):
                others = [column for column in table.c if column.name != "source"]
                query = sql.select(sql.literal(to), *others).where(table.c.source == source)
                names = ["source", *(column.name for column in others)]
                connection.execute(table.insert().from_select(names, query))

    def total(self, source: str) -> Total:
        """All of an index that are protected, by us or by somebody else, as far as is known."""
        return self._total_of(source, COVERED)

    def not_protected_yet(self, source: str) -> Total:
        """All of an index that are still to be protected, as far as is known."""
        return self._total_of(source, _TO_BE_TRIED)

    def _total_of(self, source: str, guards: Collection[Guard]) -> Total:
        query = sql.select(
            sql.func.count(), sql.func.coalesce(sql.func.sum(patients.c.size_bytes), 0)
        ).where(patients.c.source == source, patients.c.guard.in_(guards))
        with self._ledger.reading() as connection:
            count, size = connection.execute(query).one()
        return Total(count, int(size))

    def largest_protected(self, source: str) -> list[Patient]:
        """All that are protected, by us or by somebody else, those first that take most."""
        query = (
            sql.select(patients)
            .where(patients.c.source == source, patients.c.guard.in_(COVERED))
            .order_by(patients.c.size_bytes.desc(), patients.c.orthanc_id)
        )
        with self._ledger.reading() as connection:
            return [_patient(row) for row in connection.execute(query)]

    def newest_own(self, source: str, limit: int) -> list[Patient]:
        """Some that are protected by us, those first whose protection began last."""
        query = (
            sql.select(patients)
            .where(patients.c.source == source, patients.c.guard == Guard.OWN)
            .order_by(sql.func.coalesce(patients.c.since, 0.0).desc(), patients.c.orthanc_id)
            .limit(limit)
        )
        with self._ledger.reading() as connection:
            return [_patient(row) for row in connection.execute(query)]

    def unprotected(self, source: str | None = None) -> int:
        """How many are not protected, though something of them is not confirmed; of any index.

        Those that are gone count until it is known that they are lost; what is closed, or handed
        over to another Orthanc, does not.
        """
        query = sql.select(sql.func.count()).where(patients.c.guard.in_(UNPROTECTED), _is_in_need())
        if source is not None:
            query = query.where(patients.c.source == source)
        with self._ledger.reading() as connection:
            return connection.scalar(query) or 0

    def without_patient(self, source: str) -> Iterator[list[UnprotectedRow]]:
        """What is not confirmed, and of no patient that is known here with its study.

        They come few at once, maybe none.
        """
        for destination in [one.id for one in self._ledger.destinations.all()]:
            for state in IN_NEED:
                after: tuple[int, int] | None = (-1, -1)
                while after is not None:
                    found, after = self._some_without(source, destination, state, after)
                    yield found

    def covers(self, row: int, absent_since: float) -> bool:
        """Whether the patient of a row was protected from when it was written down.

        Orthanc has not recycled it then. Of what was never described nobody knows the patient.

        Parameters
        ----------
        absent_since
            When Orthanc was first seen not to have it, in seconds since 1970.
        """
        query = (
            sql.select(patients.c.guard, patients.c.since, transfers.c.queued_at)
            .join_from(
                transfers,
                patients,
                (patients.c.source == transfers.c.source)
                & (patients.c.orthanc_id == transfers.c.patient_orthanc_id),
            )
            .where(transfers.c.id == row)
        )
        with self._ledger.reading() as connection:
            found = connection.execute(query).first()
        return (
            found is not None
            and found.guard in (Guard.OWN, Guard.FOREIGN, *_DELETED)
            and found.since is not None
            and found.since <= min(absent_since, found.queued_at + _SOON)
        )

    def _some_without(
        self, source: str, destination: int, state: str, after: tuple[int, int]
    ) -> tuple[list[UnprotectedRow], tuple[int, int] | None]:
        """Some rows, and behind which others follow."""
        of = transfers.c
        query = (
            sql.select(
                *(of.priority, of.id, of.orthanc_id, of.study_instance_uid, of.patient_orthanc_id)
            )
            .where(
                of.destination_id == destination,
                of.source == source,
                of.state == state,
                sql.tuple_(of.priority, of.id) > sql.tuple_(*map(sql.literal, after)),
            )
            .order_by(of.priority, of.id)
            .limit(_ROWS)
        )
        with self._ledger.reading() as connection:
            rows = connection.execute(query).all()
            known = _known_studies(connection, source, {row.study_instance_uid for row in rows})
        found = [
            UnprotectedRow(row.id, row.orthanc_id, row.study_instance_uid)
            for row in rows
            if (row.study_instance_uid, row.patient_orthanc_id) not in known
        ]
        return found, (rows[-1].priority, rows[-1].id) if len(rows) == _ROWS else None


def _is(value: sql.ColumnElement[Any], guards: Sequence[Guard]) -> sql.ColumnElement[bool]:
    """Whether a guard is one of some, where many rows are changed at once: IN is not for that."""
    return sql.or_(*(value == sql.literal(guard.value) for guard in guards))


def _is_in_need() -> sql.ColumnElement[bool]:
    """Whether something of a patient is not confirmed, or may be its, by whatever account."""
    study, row = patient_studies.c, transfers.c
    return (
        sql.select(row.id)
        .join_from(
            patient_studies,
            transfers,
            (row.study_instance_uid == study.study_instance_uid) & (row.source == study.source),
        )
        .where(
            study.source == patients.c.source,
            study.orthanc_id == patients.c.orthanc_id,
            row.patient_orthanc_id.is_(None) | (row.patient_orthanc_id == study.orthanc_id),
            row.state.in_(IN_NEED),
        )
        .exists()
    )


def _unsent_of(source: str, names: Sequence[str]) -> sql.Select[Any]:
    """What is not confirmed of these patients; others may have something of their studies."""
    study, of = patient_studies.c, transfers.c
    mine = sql.select(study.study_instance_uid).where(
        study.source == source, study.orthanc_id.in_(names)
    )
    return sql.select(of.id, of.account, of.study_instance_uid, of.orthanc_id).where(
        of.source == source,
        of.study_instance_uid.in_(mine),  # by which they are found
        of.patient_orthanc_id.in_(names),
        of.state.in_(_LEFT),
        sql.func.coalesce(of.reason, "") != TransferReason.LOST,
    )


def _read(connection: sql.Connection, source: str, names: Sequence[str]) -> list[Patient]:
    found: dict[str, Patient] = {}
    for some in portions(names, MOST_PARAMETERS):
        query = sql.select(patients).where(
            patients.c.source == source, patients.c.orthanc_id.in_(some)
        )
        found |= {row.orthanc_id: _patient(row) for row in connection.execute(query)}
    return [found[name] for name in names if name in found]


def _question(connection: sql.Connection, source: str, names: Collection[str]) -> None:
    """What counts as ours counts as begun: nobody else has taken it away where it is not there."""
    connection.execute(
        patients.update()
        .where(
            patients.c.source == source,
            patients.c.orthanc_id.in_(names),
            patients.c.guard == Guard.OWN,
        )
        .values(guard=Guard.BEGUN, since=None)
    )


def _known_studies(
    connection: sql.Connection, source: str, studies: Collection[str]
) -> set[tuple[str, str]]:
    """Some studies that are known here, each with each of its patients."""
    of, known = patient_studies.c, set[tuple[str, str]]()
    for some in portions(sorted(studies), MOST_PARAMETERS):
        query = sql.select(of.study_instance_uid, of.orthanc_id).where(
            of.source == source, of.study_instance_uid.in_(some)
        )
        known.update((row.study_instance_uid, row.orthanc_id) for row in connection.execute(query))
    return known


def _patient(row: sql.Row[Any]) -> Patient:
    known = row.guard in set(Guard)  # whoever may write into the database stops nobody by it
    return Patient(
        row.orthanc_id, Guard(row.guard) if known else Guard.WANTED, row.since, row.size_bytes
    )
