"""What of a batch is an older version by now, as the index of its Orthanc was restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.transfer.older_versions import OlderVersions
from orthanc_gcp.ledger.rows import COLUMNS, Transfer
from orthanc_gcp.ledger.schema import State, lost_changes, transfers
from orthanc_gcp.orthanc.resources import Description
from tests.support.ledgers import ORTHANC, arrival, claim

AT = 1000.0


class Described:
    """An Orthanc, as far as it describes instances."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, float]] = {}
        self.asked: list[str] = []
        self.after_it_has_answered: Callable[[], object] = lambda: None

    def describe_each(self, resources):
        self.asked += resources
        found = [_described(one, *self.files[one]) for one in resources if one in self.files]
        self.after_it_has_answered()
        return found, []


def _described(name: str, file: str, received_at: float) -> Description:
    row = arrival(name)
    return Description(
        orthanc_id=name,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        size_bytes=50,
        attachment_uuid=file,
        received_at=received_at,
        parents={},
        origin={},
        tags={},
    )


@pytest.fixture
def batch(ledger):
    rows = [replace(arrival(name), received_at=AT, attachment_uuid=f"u{name}") for name in "123"]
    ledger.arrivals.record(rows)
    assert sorted(claim(ledger)) == ["1", "2", "3"]
    with ledger.reading() as connection:
        query = sql.select(*COLUMNS).order_by(transfers.c.id)
        return [Transfer(*row) for row in connection.execute(query)]


@pytest.fixture
def orthanc():
    made = Described()
    made.files = {"1": ("older", AT - 1), "2": ("u2", AT), "3": ("newer", AT + 1)}
    return made


def sorting(ledger, orthanc, *, is_known):
    return OlderVersions(ledger, orthanc, lambda _: is_known, ledger.indexes.undone)


def named(rows):
    return [row.orthanc_id for row in rows]


def state_of(ledger, name):
    query = sql.select(transfers.c.state, transfers.c.attachment_uuid, transfers.c.batch)
    with ledger.reading() as connection:
        return tuple(connection.execute(query.where(transfers.c.orthanc_id == name)).one())


def lost(ledger):
    with ledger.reading() as connection:
        return connection.scalars(sql.select(lost_changes.c.changes)).all()


def test_nothing_is_asked_of_an_index_that_was_never_restored(ledger, orthanc, batch):
    found = sorting(ledger, orthanc, is_known=True).sort(batch)
    assert (named(found.sendable), found.unclear, orthanc.asked) == (["1", "2", "3"], [], [])


def test_an_older_version_waits_and_the_newer_one_is_lost(ledger, orthanc, batch):
    ledger.indexes.undo(ORTHANC, AT, AT)
    found = sorting(ledger, orthanc, is_known=True).sort(batch)
    assert (named(found.sendable), found.unclear) == (["2", "3"], [])
    assert state_of(ledger, "1") == (State.WAITING, "older", None)
    assert lost(ledger) == [1]


def test_it_is_not_judged_before_it_is_known_which_index_that_is(ledger, orthanc, batch):
    found = sorting(ledger, orthanc, is_known=False).sort(batch)
    assert (named(found.sendable), named(found.unclear)) == (["2", "3"], ["1"])
    assert state_of(ledger, "1")[0] == State.SENDING
    assert lost(ledger) == []


def test_what_is_received_anew_meanwhile_is_not_set_back(ledger, orthanc, batch):
    ledger.indexes.undo(ORTHANC, AT, AT)
    newest = replace(arrival("1"), received_at=AT + 5, attachment_uuid="newest", change_seq=9)
    orthanc.after_it_has_answered = lambda: ledger.arrivals.record([newest])
    sorting(ledger, orthanc, is_known=True).sort(batch)
    assert state_of(ledger, "1") == (State.WAITING, "newest", None)
    assert lost(ledger) == []
