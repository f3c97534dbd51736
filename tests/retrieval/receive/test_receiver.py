"""From a subscription into Orthanc: what is acknowledged, and when."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.errors import StoreError, SubscriptionError
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.retrieval.receive import receiver
from orthanc_gcp.retrieval.receive.filtering import wanted_by
from orthanc_gcp.retrieval.receive.receiver import LEASE, MOST_HELD, Receiver
from orthanc_gcp.retrieval.receive.report import report_of
from tests.retrieval.simulation import NOT_FOUND, uids_of
from tests.support.ledgers import ORTHANC, A, arrival, claim

STORE = "projects/p/locations/l/datasets/d/dicomStores/s"
FORBIDDEN = SubscriptionError("not yours", reason=StoreReason.FORBIDDEN, status=403)
AWAY = SubscriptionError("away", reason=StoreReason.UNAVAILABLE, retryable=True, status=503)


class Subscription:
    """A subscription as its client sees it.

    Attributes
    ----------
    waiting
        The messages that are to be delivered.
    fails
        What each request raises, if anything.
    """

    name = "projects/p/subscriptions/s"

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.acknowledged: list[str] = []
        self.extended: list[tuple[str, int]] = []
        self.fails: Exception | None = None
        self.deliveries = 0
        self.at_once: list[bool] = []

    def publish(self, *files: bytes, store: str = STORE, attempt: int = 0, **attributes: str):
        for file in files:
            study, series, instance = uids_of(file)
            path = f"{store}/dicomWeb/studies/{study}/series/{series}/instances/{instance}"
            self.say(path, f"m-{instance}", attempt, attributes)

    def say(self, path: str, name: str, attempt: int = 0, attributes: Any = None) -> None:
        self.deliveries += 1
        data = base64.b64encode(path.encode()).decode()
        message = {"data": data, "messageId": name, "attributes": attributes or {}}
        one = {"ackId": f"ack-{self.deliveries}", "message": message}
        self.waiting.append({**one, "deliveryAttempt": attempt} if attempt else one)

    def _ask(self) -> None:
        if self.fails is not None:
            raise self.fails

    def pull(self, limit: int, *, at_once: bool = False) -> list[Any]:
        self._ask()
        self.at_once.append(at_once)
        found, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return found

    def acknowledge(self, ack_ids: list[str]) -> None:
        self._ask()
        self.acknowledged += ack_ids

    def extend(self, ack_ids: list[str], seconds: int) -> None:
        self._ask()
        self.extended += [(one, seconds) for one in ack_ids]


class Receiving:
    """A receiver, and the retriever that brings what it has written down."""

    def __init__(self, trial, **rule):
        self.trial, self.subscription, self.renewed, self.stopping = trial, Subscription(), 0, False
        self.reads, self.unreadable = 0, None
        self.rule = ReceiveRule(account=A, subscription=self.subscription.name, **rule)
        self.receiver = self.fresh()

    def fresh(self):
        """One of a process that has just begun."""
        return Receiver(
            self.rule,
            STORE,
            self.subscription,
            self.trial.ledger,
            self.trial.clock,
            Conditions(
                lambda: self.trial.source,
                lambda _: not self.trial.paused,
                lambda: self.stopping,
            ),
            self.renew,
            lambda: None,
            self.read,
        )

    def read(self):
        self.reads += 1
        if self.unreadable is not None:
            raise self.unreadable

    def renew(self):
        self.renewed += 1

    def turn(self, times=12):
        for _ in range(times):
            self.receiver.pull()
            self.trial.step()
            self.receiver.step()

    def totals(self):
        return {str(name): count for name, count in self.receiver.totals.items()}


@pytest.fixture
def receiving(trial):
    return Receiving(trial)


def test_what_is_in_orthanc_is_acknowledged_and_not_before(receiving, trial, files):
    receiving.subscription.publish(*files)
    assert receiving.receiver.pull()
    assert not receiving.receiver.step()
    assert receiving.receiver.held == 2
    assert receiving.subscription.acknowledged == []
    receiving.turn()
    assert sorted(trial.orthanc.files.values()) == sorted(files)
    assert sorted(receiving.subscription.acknowledged) == ["ack-1", "ack-2"]
    assert receiving.totals() == {"received": 2}
    assert receiving.receiver.held == 0
    assert trial.store.requests == {"open": 2}, "nothing is searched for"


def test_what_is_delivered_again_is_brought_once(receiving, trial, files):
    receiving.subscription.publish(files[0], files[0])
    receiving.turn()
    receiving.subscription.publish(files[0])
    receiving.turn()
    assert trial.store.requests == {"open": 1}
    assert "ack-3" in receiving.subscription.acknowledged
    assert receiving.receiver.held == 0


def test_two_messages_about_one_instance(receiving, trial, files):
    receiving.subscription.publish(files[0])
    receiving.subscription.publish(files[0])
    receiving.subscription.waiting[1]["message"]["messageId"] = "another"
    receiving.turn()
    assert trial.store.requests == {"open": 1}
    assert sorted(receiving.subscription.acknowledged) == ["ack-1", "ack-2"]


def test_another_process_goes_on(receiving, trial, files):
    receiving.subscription.publish(*files)
    receiving.receiver.pull()
    receiving.receiver = receiving.fresh()
    for _ in range(12):
        trial.step()
    assert len(trial.orthanc.files) == 2, "the ledger knows what is wanted"
    receiving.subscription.publish(*files)
    receiving.turn()
    assert receiving.subscription.acknowledged == ["ack-3", "ack-4"]
    assert trial.store.requests == {"open": 2}


@pytest.mark.parametrize("confirmed", [False, True])
def test_what_this_orthanc_has_sent_is_not_brought_back(receiving, trial, files, confirmed):
    study, series, instance = uids_of(files[0])
    row = arrival("x", study_instance_uid=study, series_instance_uid=series)
    trial.ledger.arrivals.record([row.__class__(**{**_fields(row), "sop_instance_uid": instance})])
    assert claim(trial.ledger) == ["x"]
    if confirmed:
        with trial.ledger.writing() as connection:
            connection.execute(sql.text(f"UPDATE gcp_transfers SET state = '{State.CONFIRMED}'"))
    receiving.subscription.publish(files[0])
    receiving.turn()
    assert receiving.totals() == {"own": 1}
    assert receiving.subscription.acknowledged == ["ack-1"]
    assert trial.store.requests == {}
    trial.source = "another Orthanc"
    receiving.subscription.publish(files[0])
    receiving.turn()
    assert receiving.totals() == {"own": 1, "received": 1}, "which has not sent it"


def _fields(row):
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def test_what_came_back_before_and_was_changed_there_is_looked_at(receiving, trial, files):
    """Its row says that the store has it, and not that this Orthanc has sent it."""
    study, series, instance = uids_of(files[0])
    row = arrival("x", study_instance_uid=study, series_instance_uid=series)
    row = row.__class__(
        **{**_fields(row), "sop_instance_uid": instance, "retrieved_sha256": "0" * 64}
    )
    trial.ledger.arrivals.record([row])
    receiving.subscription.publish(files[0])
    receiving.turn()
    assert receiving.totals() == {"received": 1}


def test_other_bytes_are_given_up_and_shown(receiving, trial, files):
    trial.orthanc.upload("", iter([files[0]]))
    other = files[0][:-1] + bytes([files[0][-1] ^ 1])
    trial.store.files[uids_of(files[0])] = other
    receiving.subscription.publish(files[0])
    receiving.turn()
    assert receiving.totals() == {"given_up": 1}
    assert receiving.subscription.acknowledged == ["ack-1"], "the ledger says why"
    (report,) = trial.ledger.retrievals.report(A)
    assert (report.row.state, report.row.cause) == ("incomplete", "notification")
    assert [one.reason for one in report.missing] == ["different"]


@pytest.mark.parametrize("attempt", [0, 4])
def test_what_the_store_does_not_give_is_given_up(receiving, trial, files, attempt):
    trial.store.files.clear()
    receiving.subscription.publish(files[0], attempt=attempt)
    for _ in range(20):
        receiving.turn(1)
        trial.pass_time(20)
    refused = ("ack-1", 0) in receiving.subscription.extended
    assert refused is bool(attempt), "it is for the dead letters, if there are any"
    assert receiving.subscription.acknowledged == ([] if attempt else ["ack-1"])
    assert receiving.receiver.most_attempts == attempt
    asked = trial.store.requests["open"]
    receiving.subscription.publish(files[0], attempt=attempt and attempt + 1)
    receiving.turn()
    assert trial.store.requests["open"] == asked, "it is known why it does not come"
    assert receiving.totals() == {"given_up": 2}
    (shown,) = report_of([receiving.receiver], A)
    assert (shown["GivenUp"], shown["MostDeliveryAttempts"]) == (2, attempt and attempt + 1)
    assert report_of([receiving.receiver], "another") == []


def test_what_nobody_wants_is_said_once_and_returned(receiving, trial, files, caplog):
    other = STORE.replace("projects/p", "projects/q")
    receiving.subscription.publish(*files, store=other)
    receiving.subscription.publish(files[0], store=other, attempt=1)
    receiving.subscription.say("no path at all", "m")
    receiving.subscription.publish(files[1], action="DeleteInstances")
    with caplog.at_level(logging.WARNING):
        receiving.turn()
    assert receiving.totals() == {"foreign": 3, "malformed": 1, "unwanted": 1}
    assert len(caplog.records) == 2
    assert trial.store.requests == {}
    assert receiving.subscription.extended == [("ack-3", 0)]
    assert len(receiving.subscription.acknowledged) == 4
    assert receiving.receiver.held == 0


def test_attributes_that_are_not_wanted(trial, files):
    receiving = Receiving(trial, tags={"InstitutionName": "North"})
    trial.store.metadata = lambda *_: {"00080080": {"Value": ["South"]}}
    object.__setattr__(trial.remote, "wants", wanted_by([receiving.rule]))
    receiving.subscription.publish(files[0])
    receiving.turn()
    assert receiving.totals() == {"unwanted": 1}
    assert trial.store.requests == {}
    (report,) = trial.ledger.retrievals.report(A)
    assert (report.row.state, report.counts) == ("unwanted", {})
    trial.store.metadata = lambda *_: {"00080080": {"Value": ["North"]}}
    receiving.subscription.publish(files[1])
    receiving.turn()
    assert receiving.totals() == {"unwanted": 1, "received": 1}


def test_attributes_that_cannot_be_read(trial, files):
    def fail(*_):
        raise NOT_FOUND

    receiving = Receiving(trial)
    object.__setattr__(trial.remote, "wants", lambda _: True)
    trial.store.metadata = fail
    receiving.subscription.publish(files[0])
    for _ in range(20):
        receiving.turn(1)
        trial.pass_time(20)
    assert receiving.totals() == {"given_up": 1}


def test_a_message_is_held_while_its_instance_comes(receiving, trial, files):
    trial.paused = False
    receiving.subscription.publish(files[0])
    receiving.receiver.pull()
    trial.paused = True
    for _ in range(20):
        trial.pass_time(4)
        receiving.receiver.step()
    extended = receiving.subscription.extended
    assert 2 <= len(extended) <= 4
    assert set(extended) == {("ack-1", LEASE)}
    trial.pass_time(receiver.MOST_HELD_SECONDS)
    receiving.receiver.step()
    assert receiving.receiver.held == 0, "it comes again, to the same retrieval"
    trial.paused = False
    receiving.subscription.publish(files[0])
    receiving.turn()
    assert receiving.subscription.acknowledged == ["ack-2"]
    assert trial.store.requests == {"open": 1}


def test_so_many_are_held_at_once(receiving, trial):
    trial.store.files.clear()
    for number in range(MOST_HELD + 50):
        path = f"{STORE}/dicomWeb/studies/1/series/2/instances/3.{number}"
        receiving.subscription.say(path, str(number))
    while receiving.receiver.pull():
        pass
    assert receiving.receiver.held == MOST_HELD
    assert len(receiving.subscription.waiting) == 50


def test_nothing_is_pulled_while_nothing_may_be_received(receiving, trial, files):
    receiving.subscription.publish(*files)
    trial.paused = True
    assert not receiving.receiver.pull()
    trial.paused, trial.source = False, ""
    assert not receiving.receiver.pull()
    trial.source, receiving.stopping = ORTHANC, True
    assert not receiving.receiver.pull()
    assert len(receiving.subscription.waiting) == 2


def test_a_refused_subscription_is_asked_again_later(receiving, trial, files):
    receiving.subscription.publish(files[0])
    receiving.subscription.fails = FORBIDDEN
    assert not receiving.receiver.pull()
    assert receiving.receiver.error is FORBIDDEN
    assert receiving.receiver.failing_since is not None
    receiving.subscription.fails = None
    assert not receiving.receiver.pull(), "not at once"
    trial.pass_time(200)
    assert receiving.receiver.pull()
    assert receiving.receiver.error is None
    assert receiving.receiver.failing_since is None
    assert receiving.subscription.at_once == [True], "so that it is known soon"


def test_a_token_that_is_refused_is_renewed(receiving):
    receiving.subscription.fails = SubscriptionError("old", reason=StoreReason.UNAUTHORIZED)
    receiving.receiver.pull()
    assert receiving.renewed == 1


def test_without_a_token_nothing_is_lost(receiving, trial, files):
    receiving.subscription.publish(files[0])
    receiving.subscription.fails = StoreError("no token", reason=StoreReason.NO_TOKEN)
    receiving.turn()
    receiving.subscription.fails = None
    trial.pass_time(200)
    receiving.turn()
    assert receiving.totals() == {"received": 1}


def test_what_cannot_be_acknowledged_just_now_is_later(receiving, trial, files):
    receiving.subscription.publish(files[0])
    receiving.receiver.pull()
    receiving.subscription.fails = AWAY
    for _ in range(5):
        trial.step()
        receiving.receiver.step()
    assert (receiving.totals(), receiving.receiver.held) == ({"received": 1}, 1)
    receiving.subscription.fails = None
    trial.pass_time(30)
    receiving.receiver.step()
    assert receiving.subscription.acknowledged == ["ack-1"]


def test_a_delivery_that_does_not_count_any_more_is_forgotten(receiving, trial, files):
    receiving.subscription.publish(files[0])
    receiving.receiver.pull()
    for _ in range(5):
        trial.step()
    receiving.subscription.fails = SubscriptionError("old", reason=StoreReason.BAD_REQUEST)
    receiving.receiver.step()
    assert receiving.receiver.held == 0
    assert receiving.receiver.error is None


def test_one_that_cannot_be_held_any_more_is_no_problem(receiving, trial, files):
    """As of a subscription with exactly-once delivery, after the ledger was away for a while."""
    receiving.subscription.publish(files[0])
    receiving.receiver.pull()
    trial.pass_time(60)
    receiving.subscription.fails = SubscriptionError("old", reason=StoreReason.BAD_REQUEST)
    receiving.receiver.step()
    assert (receiving.receiver.held, receiving.receiver.error) == (0, None)
    receiving.subscription.fails = None
    receiving.subscription.publish(files[0])
    receiving.turn()
    assert receiving.subscription.acknowledged == ["ack-2"]
    assert trial.store.requests == {"open": 1}


def test_another_index_in_the_middle_of_a_pull(receiving, trial, files):
    receiving.subscription.publish(files[0])
    pull = receiving.subscription.pull

    def changing(limit, **_):
        trial.source = "another"
        return pull(limit)

    receiving.subscription.pull = changing
    assert not receiving.receiver.pull()
    assert receiving.receiver.held == 0


def give_up(receiving, trial, count, attempt=0):
    """Have so many messages name what the store does not have."""
    for number in range(count):
        path = (
            f"{STORE}/dicomWeb/studies/1/series/2/instances/3.{receiving.subscription.deliveries}"
        )
        receiving.subscription.say(path, f"{attempt}-{number}-{path}", attempt)
    for _ in range(12):
        receiving.turn(1)
        trial.pass_time(20)


def test_a_store_that_cannot_be_read_costs_no_more_messages(receiving, trial, files):
    refused = StoreError("not yours", reason=StoreReason.FORBIDDEN, status=403)
    receiving.unreadable = refused
    give_up(receiving, trial, receiver.MOST_LOST)
    receiving.subscription.publish(*files)
    trial.pass_time(200)
    receiving.turn()
    assert receiving.receiver.error is refused
    assert len(receiving.subscription.waiting) == 2, "they are not pulled"
    receiving.unreadable = None
    trial.pass_time(200)
    receiving.turn()
    assert receiving.receiver.error is None
    assert receiving.totals()["received"] == 2
    assert receiving.receiver.held == 0


def test_instances_that_are_gone_do_not_hold_up_others(receiving, trial, files):
    give_up(receiving, trial, receiver.MOST_LOST + 2)
    receiving.subscription.publish(*files)
    receiving.turn()
    assert receiving.totals() == {"given_up": receiver.MOST_LOST + 2, "received": 2}
    assert receiving.reads >= 1
    reads = receiving.reads
    give_up(receiving, trial, receiver.MOST_LOST, attempt=2)
    assert receiving.reads == reads, "what is delivered again says nothing new"
