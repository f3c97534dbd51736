"""Each cause why an instance is where it is can be read from its row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql

from orthanc_gcp import configuration
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
from orthanc_gcp.custody.intake.open_transfers import SEEN_WITHIN
from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.custody.reporting.operations import pause, resume
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.receipts import receipts
from orthanc_gcp.custody.reporting.standstill import Standstill, capped_read_back
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSETTLED, Priority, State, transfers
from orthanc_gcp.ledger.selection import Selection
from tests.support.keys import STORE
from tests.support.transfers import arrive, settle

NOON, NIGHT = (datetime(2027, 1, 15, hour, tzinfo=UTC) for hour in (12, 2))


class Place:
    """A ledger with what may keep its rows where they are."""

    def __init__(self, ledger, **account) -> None:
        options = {**STORE, "ServiceAccountFile": "key.json"}
        section = {
            "Accounts": {"a": {**options, **account}, "wrong": {**options, "Verify": "No"}},
            "Send": [{"To": "a"}],
            "Backfill": {"Schedule": ["01:00-05:00"], "MaxBytesPerSecond": 9},
        }
        self.ledger = ledger
        self.trouble: dict[str, str | None] = {}
        self.runs, self.time = True, NIGHT
        settings = configuration.read({"GoogleCloudPlatform": section}, Path("/etc"))
        self.standstill = Standstill(
            ledger, settings, lambda: self.trouble, lambda: self.runs, lambda: self.time
        )

    def why(self) -> list[str | None]:
        """What is shown of each instance, in the order of arrival."""
        page = instances(self.ledger, Selection(), standstill=self.standstill)
        return [one.detail for one in page.items]


@pytest.fixture
def index(ledger):
    return ledger.indexes.begin("o", 0, ledger.now())


@pytest.fixture
def place(ledger, index):
    return Place(ledger)


def test_what_waits_for_its_turn(place, ledger):
    arrive(ledger, 3)
    assert place.why() == ["it waits for its turn: 3 are to be sent"] * 3


def test_an_account_that_is_paused(place, ledger):
    arrive(ledger)
    pause(ledger, "a")
    assert place.why() == ["a person has paused its account (orthanc-gcp resume)"]
    resume(ledger, "a")
    assert "paused" not in place.why()[0]


def test_what_is_to_be_read_back_while_its_account_is_paused(place, ledger):
    arrive(ledger)
    settle(ledger, State.ACKNOWLEDGED)
    pause(ledger, "a")
    assert place.why() == ["a person has paused its account (orthanc-gcp resume)"]


def test_a_pause_goes_before_what_an_old_try_has_left(place, ledger, clock):
    arrive(ledger)
    settle(ledger, State.DELAYED, detail="it answered 500", next_attempt_at=clock.now + 9)
    assert place.why() == ["it answered 500"]
    pause(ledger, "a")
    assert place.why() == [
        "a person has paused its account (orthanc-gcp resume); its last try: it answered 500"
    ]


def test_the_hours_of_a_backfill(place, ledger):
    arrive(ledger, priority=Priority.BACKFILL)
    assert place.why() == ["it waits for its turn: 1 are to be sent"]
    place.time = NOON
    assert place.why() == ["it is of a backfill, whose hours are 01:00-05:00"]
    BackfillStudies(ledger, "o", ()).pause()
    assert place.why() == ["a person has paused the backfill (orthanc-gcp backfill --resume)"]


def test_what_is_no_backfill_has_no_hours(place, ledger):
    arrive(ledger)
    place.time = NOON
    BackfillStudies(ledger, "o", ()).pause()
    assert place.why() == ["it waits for its turn: 1 are to be sent"]


def test_a_store_that_cannot_be_used(place, ledger):
    arrive(ledger)
    place.trouble = {"a": "it answered 503"}
    assert place.why() == ["its store cannot be used just now: it answered 503"]


@pytest.mark.parametrize(
    ("option", "what"), [("MaxRequestsPerMinute", "requests"), ("MaxBytesPerSecond", "bytes")]
)
def test_a_limit(ledger, index, clock, option, what):
    place = Place(ledger, **{option: 7})
    arrive(ledger)
    ledger.key_values.set(f"rate_limit:a:{what}", clock.now + 0.5)
    assert "holds it back" not in place.why()[0], "that is its turn"
    ledger.key_values.set(f"rate_limit:a:{what}", clock.now + 20)
    assert place.why() == [f"{option}=7 holds it back"]
    claimed = ledger.queue.claim(
        "a", "o", "b", "w", most_instances=9, most_bytes=10**9, most_batches=9
    )
    assert len(claimed) == 1
    assert place.why() == [f"worker w has it in a request; {option}=7 holds it back"]


def test_the_limit_of_backfills(place, ledger, clock):
    arrive(ledger, priority=Priority.BACKFILL)
    arrive(ledger, study="2.1")
    ledger.key_values.set("rate_limit:backfill:bytes", clock.now + 20)
    assert place.why() == [
        "MaxBytesPerSecond=9 of Backfill holds it back",
        "it waits for its turn: 2 are to be sent",
    ]


def test_a_series_that_orthanc_still_receives(place, ledger):
    arrive(ledger, held_for_orthanc_id="the-series")
    assert place.why() == ["Orthanc still receives the series or study the-series that it is of"]


def test_another_version_that_is_being_sent(place, ledger):
    arrive(ledger)
    settle_none = ledger.queue.claim(
        "a", "o", "b", "w", most_instances=9, most_bytes=10**9, most_batches=9
    )
    assert settle_none
    arrive(ledger, prefix="other")
    assert place.why() == [
        "worker w has it in a request",
        "another version of it, with the same UIDs, is being sent",
    ]


def test_another_version_that_another_account_sends_to_the_same_store(ledger, index, clock):
    store = StoreName("projects/one")
    ledger = Ledger(ledger.engine, clock, {"a": store, "b": store})
    arrive(ledger, account="b", prefix="other")
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    assert ledger.queue.claim("b", "o", "b", "w", **limits)
    arrive(ledger)
    assert "another version of it, with the same UIDs, is being sent" in Place(ledger).why()


def test_what_is_tried_again_later(place, ledger, clock):
    arrive(ledger)
    settle(ledger, State.DELAYED, next_attempt_at=clock.now + 60)
    assert place.why() == ["it is tried again at 2027-01-15T08:01:00.000+00:00"]
    clock.now += 61
    assert place.why() == ["it waits for its turn: 1 are to be sent"]


def test_what_is_to_be_found_yet(place, ledger, clock):
    arrive(ledger)
    (row,) = settle(ledger, State.ACKNOWLEDGED)
    assert place.why() == ["it is searched for in the store as soon as a connection is free"]
    ledger.confirmations.postpone([row], clock.now + 10)
    assert place.why() == [
        "a search has not found it yet: it is repeated at 2027-01-15T08:00:10.000+00:00"
    ]
    place.trouble = {"a": "it answered 503"}
    assert place.why() == ["its store cannot be asked just now: it answered 503"]


def test_reading_back_that_a_cap_holds_back(ledger, index):
    place = Place(ledger, MaxRequestsPerMinute=2, Verify="Bytes")
    arrive(ledger, 9)
    settle(ledger, State.ACKNOWLEDGED)
    words = "read-back of 9 instances is held back by MaxRequestsPerMinute=2: about 5 min"
    assert all(one.startswith(words) for one in place.why())
    (account,) = Overview(ledger, place.standstill).accounts()
    assert account.problem.startswith(words)


def test_what_a_cap_costs(ledger):
    for number in range(6):
        arrive(ledger, 3, study=f"1.{number}")  # searched one by one
    arrive(ledger, 60, study="2.1")  # by their series
    settle(ledger, State.ACKNOWLEDGED)

    def said(cap, verify="Search"):
        return capped_read_back(ledger, "a", cap, verify)

    assert said(None) is None
    assert said(60) is None, "it is done in 19 s"
    assert "78 instances" in said(1)
    assert "about 19 min" in said(1)
    assert "about 22 min" in said(1, "Sample")
    assert "about 97 min" in said(1, "Bytes") or "about 2 h" in said(1, "Bytes")


def test_an_account_that_the_configuration_does_not_have(place, ledger):
    arrive(ledger, account="former")
    arrive(ledger, account="wrong")
    settle(ledger, State.ACKNOWLEDGED, account="former")
    assert place.why() == [
        "the configuration has no account former",
        "the configuration of its account has an error",
    ]


def test_a_store_that_the_account_is_no_more(ledger, index, clock):
    former = Ledger(ledger.engine, clock, {"a": StoreName("projects/p/former")})
    former.destinations.register()
    arrive(former)
    clock.now += 1
    now = Ledger(ledger.engine, clock, {"a": StoreName("projects/p/now")})
    now.destinations.register()
    assert Place(now).why() == ["its account is another store by now (orthanc-gcp destinations)"]


def test_an_index_that_no_orthanc_has(place, ledger, clock):
    arrive(ledger)
    clock.now += SEEN_WITHIN + 1
    assert place.why() == ["no Orthanc that a worker follows has this index any more"]


def test_no_worker(place, ledger):
    arrive(ledger)
    place.runs = False
    assert place.why() == ["no worker runs"]


@pytest.mark.parametrize(
    "state", [State.QUARANTINED, State.WITHDRAWN, State.SUPERSEDED, State.LOST]
)
def test_what_is_at_its_end_says_only_what_was_written(place, ledger, state):
    arrive(ledger)
    settle(ledger, State.QUARANTINED, detail="why it is so")
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(state=state))
    place.runs = False
    assert place.why() == ["why it is so"]


def test_every_state_that_goes_on_has_words(place, ledger):
    """Whatever a row has, and has not: none stands still without a reason."""
    for number, state in enumerate(State):
        arrive(ledger, study=str(number))
        with ledger.writing() as connection:
            mine = transfers.c.study_instance_uid == str(number)
            connection.execute(transfers.update().where(mine).values(state=state))
    ended = set(State) - set(UNSETTLED)
    said = dict(zip(State, place.why(), strict=True))
    assert {state for state, words in said.items() if not words} <= ended


def test_a_receipt_and_the_overview_say_it_too(place, ledger, clock):
    arrive(ledger)
    pause(ledger, "a")
    (receipt,) = receipts(ledger, "1.1", None, place.standstill)
    assert receipt.instances[0].detail == "a person has paused its account (orthanc-gcp resume)"
    overview = Overview(ledger, place.standstill)
    assert overview.accounts()[0].oldest_unsent_detail is None
    clock.now += 61
    (account,) = overview.accounts()
    assert "paused" in account.oldest_unsent_detail
    assert account.as_json()["OldestUnsentDetail"] == account.oldest_unsent_detail


def test_the_overview_says_why_nothing_is_seen_in_the_store(place, ledger, clock):
    """As an account may store and not search; nothing that waits to be sent says it."""
    arrive(ledger)
    rows = settle(ledger, State.ACKNOWLEDGED, sha256="d")
    words = "it cannot be read back: searching: answered 403"
    ledger.confirmations.postpone(rows, clock.now + 5000, reason="forbidden", detail=words)
    overview = Overview(ledger, place.standstill)
    clock.now += 599
    assert overview.accounts()[0].problem is None
    clock.now += 31
    said = f"what was sent is not seen in the store, the oldest: {words}"
    assert overview.accounts()[0].problem == said
    assert overview.accounts(["a"], {"a": "the store is away"})[0].problem == "the store is away"
    assert place.standstill.of_oldest_acknowledged("nobody") is None


def test_more_rows_than_a_statement_takes(place, ledger):
    arrive(ledger, 700)
    with ledger.reading() as connection:
        rows = list(connection.scalars(sql.select(transfers.c.id)))
    assert len(place.standstill.of(rows)) == 700
    assert place.standstill.of([]) == {}
    assert place.standstill.of_oldest("nobody") is None
