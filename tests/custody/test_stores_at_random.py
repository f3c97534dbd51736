"""Two accounts go from store to store at random: what is confirmed is in that very store."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.intake.former_stores import close, hand_over
from orthanc_gcp.custody.reporting.destinations import former_destinations
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome, Series, Transfer
from orthanc_gcp.ledger.schema import Priority, State, transfers
from tests.support.ledgers import BEGIN, Time

STORES = [StoreName(f"projects/p/{number}") for number in range(3)]
SERIES = Series("study", "series")
STEPS = 120


class Life:
    """Two workers of whatever configuration, and the stores as they are.

    An instance has two files that Orthanc may have under its UIDs, and eight share four UIDs.
    """

    def __init__(self, ledger: Ledger, clock: Time, seed: int) -> None:
        self.engine, self.clock, self.chance = ledger.engine, clock, random.Random(seed)
        self.stores: dict[StoreName, dict[str, str]] = {store: {} for store in STORES}
        self.workers = [self.configured(), self.configured()]
        self.batches = 0

    def configured(self) -> Ledger:
        stores = {account: self.chance.choice(STORES) for account in "ab"}
        worker = Ledger(self.engine, self.clock, stores)
        worker.destinations.register()
        return worker

    def step(self) -> None:
        self.clock.now += 50 * self.chance.random()
        worker, account = self.chance.choice(self.workers), self.chance.choice("ab")
        steps: list[Callable[[Ledger, str], None]] = [
            *(self.arrive, self.arrive, self.arrive, self.send, self.send, self.send),
            *(self.read_back, self.read_back, self.restart, self.retry, self.end_former),
        ]
        self.chance.choice(steps)(worker, account)

    def arrive(self, worker: Ledger, account: str) -> None:
        number = self.chance.randrange(8)
        one = NewTransfer(
            account,
            "orthanc",
            f"i{number}",
            *SERIES,
            f"1.{number % 4}",
            10,
            self.clock.now - self.chance.choice([0, 200]),
            f"file{self.chance.randrange(2)}",
            self.chance.randrange(100),
            self.chance.choice(list(Priority)),
        )
        worker.arrivals.record([one], other_versions=self.chance.random() < 0.5)

    def send(self, worker: Ledger, account: str) -> None:
        self.batches += 1
        batch, store = f"b{self.batches}", worker.destinations.stores[account]
        limits = {"most_instances": 9, "most_bytes": 999, "most_batches": 99}
        rows = worker.queue.claim(account, "orthanc", batch, "w", **limits)
        assert {self.place(worker, row) for row in rows} <= {(account, store)}
        outcomes = [self.sent(worker, row, self.stores[store]) for row in rows]
        if self.chance.random() < 0.9:
            worker.queue.settle(batch, outcomes)
        else:  # it died after it had sent
            worker.queue.requeue_batches([batch])

    def sent(self, worker: Ledger, row: Transfer, there: dict[str, str]) -> Outcome:
        """What a store says, and what custody makes of it."""
        ours, theirs = f"{row.orthanc_id} {row.attachment_uuid}", there.get(row.sop_instance_uid)
        if theirs is None or row.replace:
            there[row.sop_instance_uid] = ours
            return Outcome(row.id, State.ACKNOWLEDGED, sha256=ours, replace=row.replace)
        if worker.stored_digests.known(row.account, {row: ours}):
            assert theirs == ours, "what it remembers is of another store"
        if theirs == ours:
            return Outcome(row.id, State.ACKNOWLEDGED, sha256=ours)
        if worker.versions.outdated([row.id]):
            return Outcome(row.id, State.SUPERSEDED, "superseded")
        if self.chance.random() < 0.5:
            return Outcome(row.id, State.WAITING, "replacing", replace=True)
        return Outcome(row.id, State.QUARANTINED, "conflict")

    def read_back(self, worker: Ledger, account: str) -> None:
        there = self.stores[worker.destinations.stores[account]]
        if worker.confirmations.readable(account, [SERIES]):
            rows = worker.confirmations.acknowledged(account, SERIES)
            seen = [row.id for row in rows if there.get(row.sop_instance_uid) == row.sha256]
            compared = {row.id: row.sha256 for row in rows if row.may_be_other}
            worker.confirmations.confirm(dict.fromkeys(seen, self.clock.now), compared)

    def restart(self, _worker: Ledger, _account: str) -> None:
        self.workers[self.chance.randrange(2)] = self.configured()

    def retry(self, worker: Ledger, account: str) -> None:
        retry(worker, self.chance.choice([None, account]))

    def end_former(self, worker: Ledger, account: str) -> None:
        former = former_destinations(worker)
        if not former:
            return
        number = self.chance.choice(former).destination.id
        if self.chance.random() < 0.7:
            hand_over(worker, number, account)
        else:
            close(worker, number)

    def place(self, worker: Ledger, row: Transfer) -> tuple[str, StoreName | None]:
        known = {one.id: one for one in worker.destinations.all()}
        query = sql.select(transfers.c.destination_id).where(transfers.c.id == row.id)
        with worker.reading() as connection:
            one = known[connection.scalar(query) or 0]
        return one.account, one.name

    def check(self) -> None:
        names = {one.id: one.name for one in self.workers[0].destinations.all()}
        confirmed = sql.select(transfers).where(transfers.c.state == State.CONFIRMED)
        with self.workers[0].reading() as connection:
            for row in connection.execute(confirmed):
                there = self.stores[names[row.destination_id]]
                assert there.get(row.sop_instance_uid) == row.sha256


@pytest.mark.parametrize("seed", range(10))
def test_what_is_confirmed_is_in_that_very_store(sqlite_ledger, clock, seed):
    life = Life(sqlite_ledger, clock, seed)
    for _ in range(STEPS):
        life.step()
        life.check()
    assert clock.now > BEGIN
    with sqlite_ledger.reading() as connection:
        states = set(connection.scalars(sql.select(transfers.c.state)))
    assert State.CONFIRMED in states, "otherwise nothing is shown by it"
