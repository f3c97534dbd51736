"""What is missing is queued, from a real Orthanc; what needs a person is not."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.audit.comparison import OVERWRITTEN
from orthanc_gcp.custody.audit.findings import Category, Finding, StudyResult, Uids
from orthanc_gcp.custody.audit.recorded import recorded
from orthanc_gcp.custody.audit.repair import Repair
from orthanc_gcp.custody.intake.rules import arrival_of
from orthanc_gcp.errors import OrthancUnavailableError
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import Coming, Digests, Listed, Resource
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import TransferReason
from tests.support.site import make_instance

QUEUED = {Category.MISSING, Category.NOT_IN_LEDGER, Category.LOST, Category.FORMER_STORE}


@pytest.fixture(scope="module")
def source(orthanc):
    made = OrthancSource(OrthancRest(orthanc.url), orthanc.folder)
    made.name_of_instance = orthanc.json("POST", "/instances", make_instance())["ID"]
    return made


@pytest.fixture
def instance(source):
    """As Orthanc describes it."""
    (found,) = source.describe([source.name_of_instance])
    return found


@pytest.fixture
def ledger(sqlite_ledger):
    """What differs between databases has tests of its own."""
    return sqlite_ledger


@pytest.fixture
def repair(ledger, source):
    return Repair(ledger, source, "o", since=1000.5)


def write_down(ledger, instance, **values):
    """Its row, in some state."""
    ledger.arrivals.record([arrival_of(instance, "o", "a", change=5)])
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(**values))
    return row_of(ledger, instance)


def row_of(ledger, instance):
    (row,) = recorded(ledger, instance.study_instance_uid).of("a")
    return row


def result(instance, category, row=None, account="a", **more):
    uids = Uids(instance.study_instance_uid, instance.series_instance_uid, "1")
    more = {"in_orthanc": True, "transfer": row and row.transfer, **more}
    return StudyResult(
        uids[0], account, findings=[Finding(category, uids, instance.orthanc_id, **more)]
    )


def test_what_the_store_has_not(ledger, repair, instance):
    row = write_down(ledger, instance, state=State.CONFIRMED, sha256="d")
    assert repair.queue(result(instance, Category.MISSING, row, in_orthanc=False)) == 0
    assert row_of(ledger, instance) == row
    assert repair.queue(result(instance, Category.MISSING, row)) == 1
    again = row_of(ledger, instance).transfer
    assert (again.state, again.reason) == (State.WAITING, TransferReason.MISSING)
    assert repair.queue(result(instance, Category.MISSING, row)) == 0, "it waits already"


def test_what_the_store_has_otherwise(ledger, repair, instance):
    row = write_down(ledger, instance, state=State.CONFIRMED, sha256="d")
    assert repair.queue(result(instance, Category.DIFFERENT, row, in_orthanc=False)) == 0
    assert row_of(ledger, instance) == row
    assert repair.queue(result(instance, Category.DIFFERENT, row)) == 1
    again = row_of(ledger, instance).transfer
    assert (again.state, again.reason) == (State.WAITING, TransferReason.DIFFERENT)
    assert again.may_be_other, "it is not confirmed without its bytes"
    assert repair.queue(result(instance, Category.DIFFERENT, row)) == 0, "it waits already"


def test_what_the_ledger_has_not(ledger, repair, instance):
    assert repair.queue(result(instance, Category.NOT_IN_LEDGER, in_orthanc=False)) == 0
    assert repair.queue(result(instance, Category.NOT_IN_LEDGER, account=None)) == 0
    assert recorded(ledger, instance.study_instance_uid).by_account == {}
    assert repair.queue(result(instance, Category.NOT_IN_LEDGER)) == 1
    row = row_of(ledger, instance)
    assert (row.transfer.state, row.transfer.source) == (State.WAITING, "o")
    assert row.transfer.attachment_uuid == instance.attachment_uuid
    assert row.transfer.priority == Priority.LIVE


@pytest.mark.parametrize("in_store", [True, False])
def test_what_came_from_the_store_is_sent_where_that_has_it_no_more(
    ledger, source, repair, instance, in_store
):
    uids = instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
    (md5,) = source.checksums.md5s({instance.orthanc_id: uids[2]}).values()
    ledger.retrievals.request("a", "o", [Resource(uids[0])], compare_bytes=False)
    (retrieval,) = ledger.retrievals.open("o")
    ledger.retrieval_rounds.add_listed([(retrieval, Listed(uids, 1))])
    (row,) = ledger.retrievals.pending(retrieval, (), 10)
    digests = Digests(instance.size_bytes, md5, "its SHA-256")
    ledger.retrievals.note_digests([Coming(row.id, 1, digests)])
    found = result(instance, Category.NOT_IN_LEDGER, in_store=in_store)
    assert repair.queue(found) == (not in_store), "what is written down only is not queued"
    state = State.CONFIRMED if in_store else State.WAITING
    assert row_of(ledger, instance).transfer.state == state


def test_what_is_for_the_backfill_is_sent_as_its(ledger, source, instance):
    repair = Repair(ledger, source, "o", since=instance.received_at + 1)
    assert repair.queue(result(instance, Category.NOT_IN_LEDGER)) == 1
    assert row_of(ledger, instance).transfer.priority == Priority.BACKFILL


@pytest.mark.parametrize("state", [State.CONFIRMED, State.QUARANTINED, State.WAITING])
def test_what_was_written_down_meanwhile_is_not_sent_twice(ledger, repair, instance, state):
    row = write_down(ledger, instance, state=state)
    assert repair.queue(result(instance, Category.NOT_IN_LEDGER)) == 0
    assert row_of(ledger, instance) == row


@pytest.mark.parametrize(
    ("category", "state"),
    [(Category.NOT_IN_LEDGER, State.WITHDRAWN), (Category.LOST, State.LOST)],
)
def test_what_is_there_again(ledger, repair, instance, category, state):
    row = write_down(ledger, instance, state=state, reason=TransferReason.DELETED)
    assert repair.queue(result(instance, category, row)) == 1
    assert row_of(ledger, instance).transfer.state == State.WAITING


def test_what_is_for_a_former_store(ledger, clock, source, instance):
    before = Ledger(ledger.engine, clock, {"a": StoreName("projects/old")})
    now = Ledger(ledger.engine, clock, {"a": StoreName("projects/new")})
    row = write_down(before, instance, state=State.CONFIRMED)
    found = result(instance, Category.FORMER_STORE, row)
    assert Repair(now, source, "o").queue(found) == 1
    assert row_of(now, instance).transfer.state == State.WAITING
    assert row_of(before, instance) == row


def test_what_was_received_anew(ledger, repair, instance):
    row = write_down(ledger, instance, state=State.CONFIRMED, attachment_uuid="before")
    found = result(instance, Category.WAITING, row, reason=OVERWRITTEN)
    assert repair.queue(found) == 1
    assert row_of(ledger, instance).transfer.attachment_uuid == instance.attachment_uuid
    assert repair.queue(found) == 0


@pytest.mark.parametrize("category", [Category.WAITING, Category.LOST, Category.NOT_IN_LEDGER])
@pytest.mark.parametrize("state", [State.WAITING, State.CONFIRMED])
def test_what_was_received_anew_since_is_not_set_back(ledger, repair, instance, category, state):
    """What the audit has seen, and what Orthanc has described then, is the version before."""
    row = None
    if category != Category.NOT_IN_LEDGER:
        row = write_down(ledger, instance, state=State.LOST, attachment_uuid="before")
    later = {"attachment_uuid": "newest", "received_at": instance.received_at + 5}
    now = write_down(ledger, instance, state=state, **later)
    found = result(instance, category, row, reason=OVERWRITTEN)
    assert repair.queue(found) == 0
    assert row_of(ledger, instance) == now


@pytest.mark.parametrize(
    "category",
    sorted(set(Category) - QUEUED),
)
def test_what_needs_a_person(ledger, repair, instance, category):
    row = write_down(ledger, instance, state=State.QUARANTINED)
    assert repair.queue(result(instance, category, row)) == 0
    assert row_of(ledger, instance) == row


def test_an_orthanc_that_is_away(sqlite_ledger, instance, tmp_path):
    away = OrthancSource(OrthancRest("http://127.0.0.1:1"), tmp_path)
    with pytest.raises(OrthancUnavailableError):
        Repair(sqlite_ledger, away, "o").queue(result(instance, Category.NOT_IN_LEDGER))
