"""What is new to the ledger is queued for each account that the rules want it for, at once.

A comparison of Orthanc with the ledger looks no further where one of them has it.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.audit.comparison import OVERWRITTEN
from orthanc_gcp.custody.audit.findings import Category, Finding, StudyResult, Uids
from orthanc_gcp.custody.audit.recorded import recorded
from orthanc_gcp.custody.audit.repair import Repair
from orthanc_gcp.custody.intake.inventory import Inventory
from orthanc_gcp.custody.intake.rules import Rules, arrival_of
from orthanc_gcp.custody.intake.selection import MOST_UNREADABLE, Selector
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import Coming, Digests, Listed, Resource
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.site import make_instance

BOTH = frozenset("ab")


@pytest.fixture(scope="module")
def source(orthanc):
    return OrthancSource(OrthancRest(orthanc.url), orthanc.folder)


@pytest.fixture(scope="module")
def instance(source, orthanc):
    """As Orthanc describes it."""
    name = orthanc.json("POST", "/instances", make_instance())["ID"]
    (found,) = source.describe([name])
    return found


@pytest.fixture
def repair(ledger, source):
    return Repair(ledger, source, "o")


def write_down(ledger, instance, account, **values):
    ledger.arrivals.record([arrival_of(instance, "o", account, change=5)])
    with ledger.writing() as connection:
        which = transfers.c.account == account
        connection.execute(transfers.update().where(which).values(**values))


def compare_all(ledger, source):
    """As the worker compares Orthanc with the ledger each day."""
    selector = Selector(ledger, source, Rules([SendRule(to="a"), SendRule(to="b")], {}.get))
    inventory = Inventory(ledger, source)
    inventory.begin("o")
    while (names := inventory.step(source.last_change())) is not None:
        found = selector.select("o", names)
        ledger.arrivals.record(found.arrivals, other_versions=True)


def states(ledger, instance):
    """The states of its rows, by account."""
    found = recorded(ledger, instance.study_instance_uid).by_account
    return {account: [row.transfer.state for row in rows] for account, rows in found.items()}


def unrecorded(instance, account, accounts=BOTH, **more):
    return result(instance, Category.NOT_IN_LEDGER, account, accounts=accounts, **more)


def overwritten(ledger, instance, accounts):
    """A finding of account ``a``, whose row is of another file."""
    (row,) = recorded(ledger, instance.study_instance_uid).of("a")
    more = {"reason": OVERWRITTEN, "transfer": row.transfer, "accounts": accounts}
    return result(instance, Category.WAITING, "a", **more)


def result(instance, category, account, **more):
    uids = Uids(
        instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
    )
    finding = Finding(category, uids, instance.orthanc_id, in_orthanc=True, **more)
    return StudyResult(uids[0], account, findings=[finding])


def test_what_was_found_at_one_account_is_queued_for_the_others(ledger, source, repair, instance):
    queued = repair.queue(unrecorded(instance, "a"))
    compare_all(ledger, source)
    assert states(ledger, instance) == {"a": ["waiting"], "b": ["waiting"]}
    assert queued == 2


def test_what_was_received_anew_is_queued_for_the_others(ledger, source, repair, instance):
    write_down(ledger, instance, "a", state=State.CONFIRMED, attachment_uuid="before")
    queued = repair.queue(overwritten(ledger, instance, BOTH))
    compare_all(ledger, source)
    assert states(ledger, instance) == {"a": ["waiting"], "b": ["waiting"]}
    assert queued == 2


@pytest.mark.parametrize("state", [State.WAITING, State.CONFIRMED, State.QUARANTINED])
def test_what_another_account_has_already_is_left_as_it_is(ledger, repair, instance, state):
    write_down(ledger, instance, "b", state=state, attachment_uuid="before")
    before = recorded(ledger, instance.study_instance_uid).of("b")
    assert repair.queue(unrecorded(instance, "a")) == 1
    assert recorded(ledger, instance.study_instance_uid).of("b") == before


@pytest.mark.parametrize("state", [State.WAITING, State.SENDING, State.CONFIRMED])
def test_it_is_queued_once(ledger, repair, instance, state):
    results = [unrecorded(instance, account) for account in "ab"]
    assert repair.queue(results[0], results) == 2
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(state=state))
    before = recorded(ledger, instance.study_instance_uid)
    assert [repair.queue(one, results) for one in reversed(results)] == [0, 0]
    assert recorded(ledger, instance.study_instance_uid) == before


def test_only_for_whom_the_rules_want_it(ledger, repair, instance):
    assert repair.queue(unrecorded(instance, "a", frozenset("a"))) == 1
    assert states(ledger, instance) == {"a": ["waiting"]}


def test_what_another_account_was_to_have_in_a_former_store_is_left(
    ledger, clock, source, instance
):
    """Its own result tells of it."""
    write_down(
        Ledger(ledger.engine, clock, {"b": StoreName("projects/old")}),
        instance,
        "b",
        state=State.CONFIRMED,
    )
    now = Ledger(ledger.engine, clock, {"b": StoreName("projects/new")})
    for_backfill = Repair(now, source, "o", since=instance.received_at + 1)
    assert for_backfill.queue(unrecorded(instance, "a")) == 1
    assert states(now, instance) == {"a": ["waiting"], "b": ["confirmed"]}


@pytest.mark.parametrize("is_there", [None, True, False])
def test_what_came_from_the_store_of_another_account(ledger, source, repair, instance, is_there):
    """It is not sent there, unless that account's own result says that it is not there now."""
    retrieve(ledger, source, instance, "b")
    found = [unrecorded(instance, "a")]
    if is_there is not None:
        found.append(unrecorded(instance, "b", in_store=is_there))
    assert repair.queue(found[0], found) == (2 if is_there is False else 1)
    state = "waiting" if is_there is False else "confirmed"
    assert states(ledger, instance) == {"a": ["waiting"], "b": [state]}
    assert [repair.queue(one, found) for one in found[1:]] == [0] * len(found[1:])


def retrieve(ledger, source, instance, account):
    """It came from the store of an account."""
    uids = instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
    (md5,) = source.checksums.md5s({instance.orthanc_id: uids[2]}).values()
    ledger.retrievals.request(account, "o", [Resource(uids[0])], compare_bytes=False)
    (retrieval,) = ledger.retrievals.open("o")
    ledger.retrieval_rounds.add_listed([(retrieval, Listed(uids, 1))])
    (row,) = ledger.retrievals.pending(retrieval, (), 10)
    digests = Digests(instance.size_bytes, md5, "its SHA-256")
    ledger.retrievals.note_digests([Coming(row.id, 1, digests)])


def test_a_version_that_the_rules_cannot_be_applied_to_is_left_to_the_worker_too(
    ledger, repair, instance
):
    """It tries that again until Orthanc can read it, and then queues it for the others."""
    write_down(ledger, instance, "a", state=State.CONFIRMED, attachment_uuid="before")
    assert repair.queue(overwritten(ledger, instance, None)) == 1
    assert states(ledger, instance) == {"a": ["waiting"]}
    assert ledger.arrivals.unreadable("o") == [instance.orthanc_id]


def test_it_is_queued_for_its_account_where_too_many_wait_for_the_rules(ledger, repair, instance):
    write_down(ledger, instance, "a", state=State.CONFIRMED, attachment_uuid="before")
    ledger.arrivals.change_unreadable("o", [str(number) for number in range(MOST_UNREADABLE)])
    with pytest.raises(OrthancError, match="cannot read what it has stored"):
        repair.queue(overwritten(ledger, instance, None))
    assert states(ledger, instance) == {"a": ["waiting"]}


def test_all_that_is_to_be_sent_is_written_at_once(ledger, repair, instance, monkeypatch):
    """An audit that is killed after the first of them hides the rest from no later comparison."""
    record, calls = ledger.arrivals.record, []

    def only_first(*arguments, **more):
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return record(*arguments, **more)

    monkeypatch.setattr(ledger.arrivals, "record", only_first)
    with suppress(KeyboardInterrupt):
        repair.queue(unrecorded(instance, "a"))
    assert states(ledger, instance) == {"a": ["waiting"], "b": ["waiting"]}
