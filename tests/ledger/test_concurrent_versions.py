"""What is decided of an instance's versions holds for what another transaction makes of them.

Each test holds a transaction of its own open while the ledger works, as a follower does that writes
a page of changes. On SQLite one transaction after the other writes, so that nothing is between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger.database import writing
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.versions import reopen_versions, supersede_unsent
from tests.support.ledgers import ORTHANC, A, arrival, claim, claimed_rows, meanwhile, states

OTHER = "another orthanc"
_OF = transfers.c


@pytest.fixture
def ledger(postgresql_ledger: Ledger) -> Ledger:
    return postgresql_ledger


def receive(ledger: Ledger, name: str, at: float, **more: object) -> int:
    """A version of the one instance was received at a time; its row."""
    row = arrival(name, sop_instance_uid="1.1", received_at=at, change_seq=int(at), **more)
    ledger.arrivals.record([row])
    with ledger.reading() as connection:
        found = connection.scalar(sql.select(_OF.id).where(_OF.orthanc_id == name))
    assert found is not None
    return int(found)


def claim_of(ledger: Ledger, source: str, batch: str) -> None:
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    assert ledger.queue.claim(A, source, batch, "w", **limits)


def settle(ledger: Ledger, batch: str, state: State, **more: Any) -> None:
    rows = claimed_rows(ledger, batch)
    assert rows
    ledger.queue.settle(batch, [Outcome(row.id, state, **more) for row in rows])


def change(row: int, **values: object) -> Callable[[sql.Connection], None]:
    """Another transaction's update of a row, as that writes it in the end."""

    def update(connection: sql.Connection) -> None:
        connection.execute(transfers.update().where(_OF.id == row).values(**values))

    return update


def withdrawn(ledger: Ledger, row: int) -> Callable[[sql.Connection], None]:
    """A settlement of a row that is not sent, as far as it is about versions."""

    def settle_it(connection: sql.Connection) -> None:
        change(row, state=State.WITHDRAWN, batch=None)(connection)
        reopen_versions(connection, ledger.now(), [row])

    return settle_it


def test_what_is_received_anew_is_not_superseded_by_what_was_sent_before(ledger):
    mine = receive(ledger, "mine", 10.0)
    claim_of(ledger, ORTHANC, "b")
    settle(ledger, "b", State.ACKNOWLEDGED, sha256="first")
    receive(ledger, "theirs", 20.0, source=OTHER)
    claim_of(ledger, OTHER, "c")
    anew = change(mine, state=State.WAITING, received_at=30.0, sha256=None)
    meanwhile(ledger, anew, lambda: settle(ledger, "c", State.ACKNOWLEDGED, sha256="second"))
    assert states(ledger) == {"mine": State.WAITING, "theirs": State.ACKNOWLEDGED}


def test_what_is_claimed_is_not_superseded_by_what_is_being_withdrawn(ledger):
    receive(ledger, "old", 10.0)
    new = receive(ledger, "new", 20.0)
    meanwhile(ledger, withdrawn(ledger, new), lambda: claim(ledger))
    assert states(ledger)["old"] == State.WAITING
    assert claim(ledger) == ["old"]


def test_what_is_just_being_superseded_waits_again_when_the_newer_is_withdrawn(ledger):
    old = receive(ledger, "old", 10.0)
    receive(ledger, "new", 20.0)
    with writing(ledger.engine) as connection:
        change(old, state=State.HELD)(connection)
    assert claim(ledger, "b") == ["new"]
    with writing(ledger.engine) as connection:
        change(old, state=State.WAITING)(connection)
    meanwhile(
        ledger,
        lambda connection: supersede_unsent(connection, ledger.now(), [old]),
        lambda: settle(ledger, "b", State.WITHDRAWN),
    )
    assert states(ledger) == {"old": State.WAITING, "new": State.WITHDRAWN}


def test_what_was_sent_is_not_superseded_by_what_is_being_withdrawn(ledger):
    receive(ledger, "old", 10.0)
    claim_of(ledger, ORTHANC, "b")
    new = receive(ledger, "new", 20.0, source=OTHER)
    with writing(ledger.engine) as connection:
        change(new, replace=True)(connection)
    meanwhile(
        ledger,
        withdrawn(ledger, new),
        lambda: settle(ledger, "b", State.ACKNOWLEDGED, sha256="old"),
    )
    assert states(ledger) == {"old": State.ACKNOWLEDGED, "new": State.WITHDRAWN}


def test_what_was_refused_is_not_superseded_by_what_is_being_withdrawn(ledger):
    receive(ledger, "old", 10.0)
    claim_of(ledger, ORTHANC, "b")
    new = receive(ledger, "new", 20.0, source=OTHER)
    superseded = {"reason": "superseded", "sha256": "old"}
    meanwhile(
        ledger, withdrawn(ledger, new), lambda: settle(ledger, "b", State.SUPERSEDED, **superseded)
    )
    assert states(ledger) == {"old": State.WAITING, "new": State.WITHDRAWN}


@pytest.mark.parametrize("ended", ["withdrawn", "found again"])
def test_what_is_being_sent_anew_does_not_wait_again_beside_that(ledger, ended):
    old = receive(ledger, "old", 10.0)
    if ended == "withdrawn":
        receive(ledger, "new", 20.0)
        assert claim(ledger, "b") == ["new"]
        superseded = change(old, state=State.SUPERSEDED)
        end = lambda: settle(ledger, "b", State.WITHDRAWN)  # noqa: E731
    else:
        superseded = change(old, state=State.WITHDRAWN, reason="deleted")
        end = lambda: ledger.arrivals.reopen(ORTHANC, ["old"])  # noqa: E731
    with writing(ledger.engine) as connection:
        superseded(connection)
    meanwhile(ledger, change(old, state=State.SENDING, batch="c", reason=None), end)
    assert states(ledger)["old"] == State.SENDING
