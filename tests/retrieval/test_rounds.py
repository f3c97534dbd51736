"""Listings that lie and grow, and an Orthanc that does not keep what it was given."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.reasons import StoreReason
from tests.retrieval.simulation import AWAY, ended, uids_of
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
