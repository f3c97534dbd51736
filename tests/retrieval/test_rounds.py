"""Listings that lie and grow, and an Orthanc that does not keep what it was given."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import OrthancRefusedError, StoreError
from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.reasons import StoreReason
from tests.retrieval.simulation import AWAY, Trial, ended, uids_of
from tests.support.site import make_instance, make_study


@pytest.fixture
def files():
    return make_study(1, 3, size=16)


def test_all_of_it(trial, study, files):
    assert ended(trial, study) == ("complete", {"received": 3}, set())
    assert sorted(trial.orthanc.files.values()) == sorted(files)
    assert trial.store.requests == {"search": 2, "retrieve": 1}


def test_what_is_there_already_costs_one_search(trial, study, files):
    for file in files:
        trial.orthanc.upload("", iter([file]))
    assert ended(trial, study) == ("complete", {"present": 3}, set())
    assert trial.store.requests == {"search": 1}


def test_all_bytes_are_compared_where_that_is_wanted(trial, files):
    for file in files:
        trial.orthanc.upload("", iter([file]))
    name = next(iter(trial.orthanc.files))
    trial.orthanc.files[name] = trial.orthanc.files[name][:-1] + b"\xff\xfe"
    (number,) = trial.want(Resource(uids_of(files[0])[0]), compare=True)
    counts = {"present": 2, "different": 1}
    assert ended(trial, number) == ("incomplete", counts, {"different"})
    assert trial.orthanc.uploads == 3, "nothing is overwritten"


def test_what_is_added_meanwhile_comes_too(trial, study, files):
    series = uids_of(files[0])[:2]
    late = make_instance(*series, size=16)
    trial.orthanc.on_stored = lambda _: trial.store.files.setdefault(uids_of(late), late)
    assert ended(trial, study) == ("complete", {"received": 4}, set())


def test_a_listing_that_never_ends_growing(trial, study, files):
    series = uids_of(files[0])[:2]

    def grow(kind, *_):
        if kind == "search":
            new = make_instance(*series, size=16)
            trial.store.files[uids_of(new)] = new

    trial.store.on_request = grow
    state, counts, reasons = ended(trial, study)
    assert (state, reasons) == ("incomplete", {"unstable"})
    assert counts["received"] >= 9


def test_what_is_listed_and_is_not_there(trial, study, files):
    ghost = (*uids_of(files[0])[:2], "1.2.3")
    trial.store.listing = [*trial.store.files, ghost, *trial.store.files]
    counts = {"received": 3, "missing": 1}
    assert ended(trial, study) == ("incomplete", counts, {"not_found"})


def test_what_is_listed_and_was_not_asked_for(trial, study, files):
    trial.store.listing = [*trial.store.files, ("9", "9", "9")]
    assert ended(trial, study) == ("complete", {"received": 3}, set())


def test_what_orthanc_deletes_once_comes_again_and_twice_is_gone(trial, study, files):
    lost = []

    def forget(name):
        if len(lost) < 1:
            lost.append(trial.orthanc.files.pop(name))

    trial.orthanc.on_stored = forget
    assert ended(trial, study) == ("complete", {"received": 3}, set())
    other = make_instance(size=16)
    trial.store.files[uids_of(other)] = other
    trial.orthanc.on_stored = trial.orthanc.files.pop
    (number,) = trial.want(Resource(uids_of(other)[0]))
    assert ended(trial, number) == ("incomplete", {"missing": 1}, {"gone"})


def test_another_instance_in_the_place_of_one(trial, files):
    other = make_instance(size=16)
    trial.store.files[uids_of(files[0])] = other
    (number,) = trial.want(Resource(*uids_of(files[0])))
    assert ended(trial, number) == ("incomplete", {"missing": 1}, {"other_instance"})


def test_nothing_is_listed(trial):
    (number,) = trial.want(Resource("1.2"))
    assert ended(trial, number) == ("incomplete", {}, {"not_listed"})


def test_a_store_that_is_away_while_it_lists_is_waited_for(trial, study):
    failures = iter(range(50))

    def away(*_):
        if next(failures, None) is not None:
            raise AWAY

    trial.store.on_request = away
    assert ended(trial, study) == ("complete", {"received": 3}, set())
    assert trial.store.requests["search"] == 52


def test_one_that_it_refuses_to_list_ends(trial, study):
    def refuse(*_):
        raise StoreError("no", reason=StoreReason.FORBIDDEN, status=403)

    trial.store.on_request = refuse
    assert ended(trial, study) == ("incomplete", {}, {"forbidden"})
    assert trial.store.requests["search"] == 4


def test_a_token_that_is_refused_is_renewed(trial, study):
    refused = iter([StoreError("no", reason=StoreReason.UNAUTHORIZED, status=401, retryable=True)])

    def refuse(*_):
        for error in refused:
            raise error

    trial.store.on_request = refuse
    assert ended(trial, study)[0] == "complete"
    assert trial.renewed == 1


def test_orthanc_is_asked_and_the_ledger_written_for_many_at_once(sqlite_ledger, clock):
    files = [make_instance(size=1) for _ in range(20)]
    trial = Trial(sqlite_ledger, clock, *files)
    numbers = trial.want(*(Resource(uids_of(file)[0]) for file in files))
    trial.steps(numbers[-1], most=6)
    reports = [trial.report(number) for number in numbers]
    assert {one.row.state for one in reports} == {"complete"}
    assert trial.orthanc.queries == 1, "what it has received is known"
    assert trial.orthanc.descriptions == 1


@pytest.mark.parametrize("error", [OrthancRefusedError("no", status=500), ZeroDivisionError()])
def test_one_that_cannot_be_looked_at_is_in_the_way_of_no_other(
    sqlite_ledger, clock, monkeypatch, error
):
    files = [make_instance(size=1) for _ in range(9)]
    trial = Trial(sqlite_ledger, clock, *files)
    *numbers, last = trial.want(*(Resource(uids_of(file)[0]) for file in files))
    describe = trial.orthanc.describe

    def refuse(names):
        found = describe(names)
        if uids_of(files[-1]) in [
            (one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid) for one in found
        ]:
            raise error
        return found

    monkeypatch.setattr(trial.orthanc, "describe", refuse)
    while any(trial.report(number).row.ended_at is None for number in numbers):
        trial.step()
        trial.pass_time(1)
    assert {trial.report(number).row.state for number in numbers} == {"complete"}
    assert trial.report(last).row.ended_at is None
    monkeypatch.undo()
    assert ended(trial, last)[0] == "complete"
