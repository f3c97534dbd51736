"""The index of what is stored: which instances there are, by their UIDs.

The index decides what exists: a row is committed before its instance is acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.instances import (
    JOINED,
    STANDARD,
    InstanceChange,
    Notify,
    StorageClass,
    StoredFile,
    StoredInstance,
    changes_of,
    insert,
    remove,
    set_storage_class,
)
from orthanc_gcp.emulator.storage.records import DetachedRecord, InstanceKey, Record

__all__ = ["Index", "InstanceSummary", "SeriesSummary", "StudySummary", "Totals"]

_FROM_INSTANCES = f"{JOINED} WHERE studies.store = ?"
_SELECT_INSTANCES = f"""
SELECT studies.uid, series.uid, instances.uid, instances.transfer_syntax,
    instances.size, instances.sha256, instances.file, instances.id {_FROM_INSTANCES}"""
_SELECT_ALL_INSTANCES = _SELECT_INSTANCES.replace(
    _FROM_INSTANCES,
    """
FROM instances CROSS JOIN series ON instances.series = series.id
CROSS JOIN studies ON series.study = studies.id
WHERE studies.store = ?""",
)
"""The same in the order of the rows: no sorting of a whole store for each batch."""
_SELECT_TOTALS = f"""
SELECT COUNT(DISTINCT studies.id), COUNT(DISTINCT series.id), COUNT(*),
    COALESCE(SUM(LENGTH(instances.attributes)), 0), COALESCE(SUM(instances.size), 0)
    {_FROM_INSTANCES}"""

_SELECT_CONTENT = """
SELECT content FROM instances JOIN contents ON contents.instance = instances.id WHERE file = ?"""
_SELECT_SUMMARIES = """
SELECT uid, patient_name, patient_id, study_date, accession_number,
    (SELECT COUNT(*) FROM series WHERE study = studies.id),
    (SELECT COUNT(*) FROM series JOIN instances ON series = series.id WHERE study = studies.id)
FROM studies WHERE store = ? ORDER BY id DESC LIMIT ? OFFSET ?"""

_SELECT_SERIES = """
SELECT one.uid, modality, one.attributes,
    (SELECT COUNT(*) FROM instances WHERE instances.series = one.id)
FROM series AS one JOIN studies ON one.study = studies.id
WHERE studies.store = ? AND studies.uid = ? ORDER BY one.id LIMIT ? OFFSET ?"""
_SELECT_INSTANCE_SUMMARIES = f"""
SELECT instances.uid, instances.sop_class, instances.transfer_syntax, instances.size,
    instances.sha256, instances.attributes {JOINED}
WHERE studies.store = ? AND studies.uid = ? AND series.uid = ?
ORDER BY instances.id LIMIT ? OFFSET ?"""


class StudySummary(NamedTuple):
    """A study as a list for people shows it."""

    uid: str
    patient_name: str
    patient_id: str
    study_date: str
    accession_number: str
    series: int
    instances: int


class SeriesSummary(NamedTuple):
    """A series as a list for people shows it; ``attributes`` is DICOM JSON."""

    uid: str
    modality: str
    attributes: str
    instances: int


class InstanceSummary(NamedTuple):
    """An instance as a list for people shows it; ``attributes`` is DICOM JSON, ``size`` bytes."""

    uid: str
    sop_class: str
    transfer_syntax: str
    size: int
    sha256: bytes
    attributes: str


class Totals(NamedTuple):
    """How much there is: numbers, and bytes in the index and in files."""

    studies: int
    series: int
    instances: int
    structured_size: int
    blob_size: int


class Index:
    """The studies, series and instances of all stores; a store is known by its row."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        store: int,
        record: Record | DetachedRecord,
        file: StoredFile,
        replaced: str | None = None,
        storage_class: StorageClass | None = None,
        notify: Notify | None = None,
    ) -> None:
        """Add an instance, perhaps in place of the one in the file ``replaced``.

        Raises :class:`sqlite3.IntegrityError` when its key is taken.
        """
        with self._database.transaction() as sql:
            insert(sql, store, record, file, replaced)
            if storage_class is not None:
                set_storage_class(sql, [file.name], storage_class)
            if notify is not None:
                name = STANDARD if storage_class is None else storage_class.name
                notify(sql, InstanceChange(record.key, record.modality, name))

    def instances(
        self, store: int, study: str, series: str | None = None, instance: str | None = None
    ) -> list[StoredInstance]:
        """Return the instances of a study, of a series, or one, in the order of their arrival."""
        condition, values = _under((study, series, instance))
        query = f"{_SELECT_INSTANCES}{condition} ORDER BY instances.id"
        return [_stored(row) for row in self._database.read(query, [store, *values])]

    def latest_studies(self, store: int, offset: int, limit: int) -> list[StudySummary]:
        """Return studies of a store, those that came last first."""
        rows = self._database.read(_SELECT_SUMMARIES, (store, limit, offset))
        return [StudySummary(*row) for row in rows]

    def first_series(self, store: int, study: str, offset: int, limit: int) -> list[SeriesSummary]:
        """Return series of a study, those that came first first."""
        rows = self._database.read(_SELECT_SERIES, (store, study, limit, offset))
        return [SeriesSummary(*row) for row in rows]

    def first_instances(
        self, store: int, study: str, series: str, offset: int, limit: int
    ) -> list[InstanceSummary]:
        """Return instances of a series, those that came first first."""
        values = (store, study, series, limit, offset)
        rows = self._database.read(_SELECT_INSTANCE_SUMMARIES, values)
        return [InstanceSummary(*row) for row in rows]

    def batches(
        self, store: int, *uids: str | None, size: int = 100
    ) -> Iterator[list[StoredInstance]]:
        """Yield the instances of a store, or under UIDs, some at a time, as each is asked for."""
        condition, values = _under(uids)
        select = _SELECT_INSTANCES if values else _SELECT_ALL_INSTANCES
        query = f"{select}{condition} AND instances.id > ? ORDER BY instances.id LIMIT ?"
        last = 0
        while rows := self._database.read(query, [store, *values, last, size]).fetchall():
            last = rows[-1][-1]
            yield [_stored(row) for row in rows]

    def totals(self, store: int, *uids: str | None) -> Totals:
        """Return how much is in a store, or under the UIDs of a study, a series, an instance."""
        condition, values = _under(uids)
        return Totals(*self._database.read(_SELECT_TOTALS + condition, [store, *values]).fetchone())

    def instance(self, store: int, key: InstanceKey) -> StoredInstance | None:
        found = self.instances(store, key.study, key.series, key.instance)
        return found[0] if found else None

    def content(self, file: str) -> bytes | None:
        """Return the bytes of an instance that has no file, but a row."""
        row = self._database.read(_SELECT_CONTENT, (file,)).fetchone()
        found: bytes | None = None if row is None else row[0]
        return found

    def has_file(self, file: str) -> bool:
        return (
            self._database.read("SELECT 1 FROM instances WHERE file = ?", (file,)).fetchone()
            is not None
        )

    def remove(self, files: Sequence[str], notify: Notify | None = None) -> None:
        """Remove instances by their files, and the series and studies that are empty then."""
        with self._database.transaction() as sql:
            if notify is not None:
                for change in changes_of(sql, files):
                    notify(sql, change)
            remove(sql, files)

    # Storage classes

    def storage_class(self, file: str) -> StorageClass | None:
        """Return the storage class of an instance, unless it was never given one."""
        row = self._database.read(
            "SELECT name, updated FROM storage_classes WHERE file = ?", (file,)
        )
        found = row.fetchone()
        return None if found is None else StorageClass(*found)

    def put_storage_class(
        self, files: Sequence[str], storage_class: StorageClass, notify: Notify | None = None
    ) -> None:
        """Put instances that are still there into a storage class."""
        with self._database.transaction() as sql:
            changes = changes_of(sql, files) if notify is not None else []
            set_storage_class(sql, files, storage_class)
            for change in changes:
                if notify is not None and change.storage_class != storage_class.name:
                    notify(
                        sql,
                        change._replace(
                            storage_class=storage_class.name, previous_class=change.storage_class
                        ),
                    )


def _under(uids: Sequence[str | None]) -> tuple[str, list[str]]:
    """Return the condition that limits instances to a study, a series, one; and its values."""
    pairs = zip(("studies", "series", "instances"), uids, strict=False)
    given = [(table, uid) for table, uid in pairs if uid is not None]
    return "".join(f" AND {table}.uid = ?" for table, _ in given), [uid for _, uid in given]


def _stored(row: Sequence[Any]) -> StoredInstance:
    return StoredInstance(InstanceKey(*row[:3]), *row[3:-1])
