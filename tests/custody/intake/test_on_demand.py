"""What somebody names in Orthanc, at whatever level, is queued once."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.intake import on_demand as module
from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.errors import OrthancError, OrthancUnavailableError
from orthanc_gcp.ledger.schema import transfers
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc import Orthanc
from tests.support.site import make_study

ACCOUNT = "google"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}, plugins=()) as orthanc:
        yield orthanc


@pytest.fixture
def archive(orthanc):
    return OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "storage")


@pytest.fixture(scope="module")
def study(orthanc):
    """Orthanc's identifiers, by level."""
    stored = [orthanc.json("POST", "/instances", file) for file in make_study(instances=5)]
    (parents,) = {(one["ParentPatient"], one["ParentStudy"], one["ParentSeries"]) for one in stored}
    levels = dict(zip(("patient", "study", "series"), parents, strict=True))
    return {**levels, "instances": [one["ID"] for one in stored]}


def queued(ledger):
    with ledger.reading() as connection:
        return list(connection.scalars(sql.select(transfers.c.orthanc_id)))


@pytest.mark.parametrize("level", ["patient", "study", "series"])
def test_a_resource_of_any_level(ledger, archive, study, level):
    assert send_on_demand(ledger, archive, ACCOUNT, [study[level]]) == 5
    assert sorted(queued(ledger)) == sorted(study["instances"])


def test_what_is_named_twice_is_queued_once(ledger, archive, study):
    first = study["instances"][0]
    assert (
        send_on_demand(ledger, archive, ACCOUNT, [first, study["patient"], study["series"], first])
        == 5
    )
    assert sorted(queued(ledger)) == sorted(study["instances"])


def test_nothing_is_queued_when_orthanc_lacks_one(ledger, archive, study):
    with pytest.raises(KeyError, match="unknown"):
        send_on_demand(ledger, archive, ACCOUNT, [study["study"], "unknown"])
    assert queued(ledger) == []


def test_the_first_can_be_sent_while_the_others_are_looked_up(ledger, archive, study, monkeypatch):
    monkeypatch.setattr(module, "_PORTION", 2)
    seen = []
    send_on_demand(
        ledger, archive, ACCOUNT, [study["study"]], lambda: seen.append(len(queued(ledger)))
    )
    assert seen == [2, 4, 5]


def test_what_is_about_to_be_queued_is_announced(ledger, archive, study, monkeypatch):
    monkeypatch.setattr(module, "_PORTION", 2)
    announced = []

    def announce(account, instances):
        announced.append((account, instances, len(queued(ledger))))

    send_on_demand(ledger, archive, ACCOUNT, [study["study"]], announce=announce)
    assert announced == [(ACCOUNT, 5, 0), (ACCOUNT, -2, 2), (ACCOUNT, -2, 4), (ACCOUNT, -1, 5)]


def test_what_is_not_queued_after_all_is_announced_no_longer(ledger, archive, study, monkeypatch):
    monkeypatch.setattr(module, "_PORTION", 2)
    announced = []
    describe = archive.describe

    def fail_at_the_second(resources):
        if len(announced) > 1:
            raise OrthancUnavailableError("away")
        return describe(resources)

    monkeypatch.setattr(archive, "describe", fail_at_the_second)
    with pytest.raises(OrthancUnavailableError):
        send_on_demand(
            *(ledger, archive, ACCOUNT, [study["study"]]),
            announce=lambda _account, instances: announced.append(instances),
        )
    assert announced == [5, -2, -3]


@pytest.fixture
def empty(tmp_path):
    with Orthanc(tmp_path, {}, plugins=()) as empty:
        yield OrthancSource(OrthancRest(empty.url), empty.folder / "storage")


@pytest.mark.parametrize("comes_back", [True, False])
def test_another_index_for_a_moment_is_no_deletion(
    ledger, archive, study, empty, monkeypatch, comes_back
):
    """Orthanc is started without its volume while instances are looked up."""
    monkeypatch.setattr(module, "_PORTION", 2)
    own, describe, asked = dict(vars(archive)), OrthancSource.describe, []

    def describe_as_it_is(source, resources, *since):
        if since:  # what the index is recognized by
            return describe(source, resources, *since)
        asked.append(resources)
        if len(asked) == 2:
            vars(archive).update(vars(empty))
        found = describe(source, resources)
        if comes_back:
            vars(archive).update(own)
        return found

    monkeypatch.setattr(OrthancSource, "describe", describe_as_it_is)
    if comes_back:
        assert send_on_demand(ledger, archive, ACCOUNT, [study["study"]]) == 5
    else:
        with pytest.raises(OrthancError, match="index"):
            send_on_demand(ledger, archive, ACCOUNT, [study["study"]])
        assert len(queued(ledger)) == 2


def test_what_somebody_deletes_meanwhile_holds_up_no_other(ledger, orthanc, archive, monkeypatch):
    stored = [orthanc.json("POST", "/instances", file)["ID"] for file in make_study(instances=3)]
    members = archive.members

    def members_then_deleted(resources):
        found = members(resources)
        orthanc.json("DELETE", f"/instances/{stored[0]}")
        return found

    monkeypatch.setattr(archive, "members", members_then_deleted)
    assert send_on_demand(ledger, archive, ACCOUNT, stored) == 2
    assert sorted(queued(ledger)) == sorted(stored[1:])
