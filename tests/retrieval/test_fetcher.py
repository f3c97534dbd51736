"""What becomes of each instance: given, refused, broken off, and in the way of no other."""

from __future__ import annotations

from contextlib import suppress

import pytest
import sqlalchemy as sql

from orthanc_gcp.errors import OrthancGoneError, OrthancUnavailableError, StoreError
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.retrieval.retriever import MOST_OPEN
from tests.retrieval.simulation import AWAY, B, Trial, ended, uids_of
from tests.support.ledgers import A
from tests.support.site import make_instance, make_study


@pytest.fixture
def files():
    return make_study(1, 4, size=16)


def test_what_does_not_come_with_the_others_comes_by_itself(trial, study, files):
    """Its meta information does not say which instance it is."""
    odd = files[1].replace(b"\x02\x00\x03\x00UI", b"\x02\x00\x04\x00UI", 1)
    trial.store.files[uids_of(files[1])] = odd
    assert ended(trial, study) == ("complete", {"received": 4}, set())
    assert trial.store.requests == {"search": 2, "retrieve": 1, "open": 1}


def test_what_is_no_file(trial, study, files):
    trial.store.files[uids_of(files[1])] = b"<html>" * 100
    counts = {"received": 3, "missing": 1}
    assert ended(trial, study) == ("incomplete", counts, {"invalid"})


@pytest.mark.parametrize(
    ("answer", "reason", "uploads"),
    [
        ((200, {"ID": "x", "Status": "FilteredOut"}), "filtered", 1),
        ((400, {"OrthancStatus": 15}), "invalid", 1),
        ((500, {"Message": "odd"}), "orthanc", 8),
        ((200, [{"ID": "x", "Status": "Success"}]), "orthanc", 8),
        ((200, None), "orthanc", 8),
    ],
)
def test_one_that_orthanc_does_not_take(trial, study, files, answer, reason, uploads):
    trial.orthanc.on_upload = lambda file: answer if file == files[2] else None
    counts = {"received": 3, "missing": 1}
    assert ended(trial, study) == ("incomplete", counts, {reason})
    assert trial.orthanc.uploads == 3 + uploads
    assert is_known_as_given(trial, files[2]) == (reason == "orthanc")  # it may have taken it


def is_known_as_given(trial: Trial, file: bytes) -> bool:
    """Whether a later file of Orthanc's with these bytes is taken for the store's."""
    return bool(trial.ledger.retrievals.origins(A, {uids_of(file)[2]}))


def test_an_orthanc_that_is_full(trial, study, files):
    """It is asked some times whether it has room; then nothing of it is brought."""
    full = (507, {"OrthancStatus": 19, "Message": "The file storage is full"})
    trial.orthanc.on_upload = lambda _: full if len(trial.orthanc.files) >= 2 else None
    state, counts, reasons = ended(trial, study)
    assert (state, counts, reasons) == ("incomplete", {"received": 2, "missing": 2}, {"full"})
    assert trial.orthanc.uploads < 30
    given = {file for file in files if is_known_as_given(trial, file)}
    assert given == set(trial.orthanc.files.values())


def test_an_orthanc_that_has_room_again(trial, study):
    answers = iter([(507, None)] * 3)
    trial.orthanc.on_upload = lambda _: next(answers, None)
    assert ended(trial, study) == ("complete", {"received": 4}, set())


def test_an_orthanc_that_is_away_is_waited_for(trial, study):
    trial.orthanc.away = True
    for _ in range(40):
        trial.step()
        trial.pass_time(70)
    assert trial.report(study).row.ended_at is None
    trial.orthanc.away = False
    assert ended(trial, study) == ("complete", {"received": 4}, set())


def test_one_at_which_orthanc_always_ends_is_in_the_way_of_no_other(trial, study, files):
    def crash(file):
        if file == files[2]:
            raise OrthancUnavailableError("it broke off")

    trial.orthanc.on_upload = crash
    counts = {"received": 3, "missing": 1}
    assert ended(trial, study) == ("incomplete", counts, {"orthanc"})
    assert trial.orthanc.uploads <= 3 + 8


def test_bytes_that_orthanc_has_otherwise_are_left(trial, study, files):
    """Somebody else sends another version while this one comes."""
    other = files[2][:-1] + bytes([files[2][-1] ^ 1])

    def first(file):
        if file == files[2] and other not in trial.orthanc.files.values():
            trial.orthanc.on_upload = lambda _: None
            trial.orthanc.upload("", iter([other]))

    trial.orthanc.on_upload = first
    counts = {"received": 3, "different": 1}
    assert ended(trial, study) == ("incomplete", counts, {"different"})
    assert not is_known_as_given(trial, files[2])


def test_a_store_that_fails_at_one_while_it_gives_others(trial, study, files):
    bad = uids_of(files[2])

    def fail(kind, *uids):
        if kind == "retrieve" or uids == bad:
            raise AWAY if uids == bad else StoreError("cut", reason=StoreReason.TRUNCATED)

    trial.store.on_request = fail
    counts = {"received": 3, "missing": 1}
    assert ended(trial, study) == ("incomplete", counts, {"unavailable"})


def test_what_this_program_fails_at(trial, study, files):
    def fail(_kind, *uids):
        if uids == uids_of(files[2]) or _kind == "retrieve":
            raise ZeroDivisionError

    trial.store.on_request = fail
    counts = {"received": 3, "missing": 1}
    assert ended(trial, study) == ("incomplete", counts, {"unexpected"})


def test_a_uid_that_two_series_have_comes_by_itself(sqlite_ledger, clock):
    files = [make_instance("1.5", series, "1.5.9", size=16) for series in ("1.5.1", "1.5.2")]
    trial = Trial(sqlite_ledger, clock, *files)
    (number,) = trial.want(Resource("1.5"))
    assert ended(trial, number) == ("complete", {"received": 2}, set())
    assert sorted(trial.orthanc.files.values()) == sorted(files)


def test_an_account_that_has_another_store_by_now(sqlite_ledger, clock, files):
    def ledger(store):
        return Ledger(sqlite_ledger.engine, clock, {A: StoreName(store)})

    (number,) = Trial(ledger("store"), clock, *files).want(Resource(uids_of(files[0])[0]))
    trial = Trial(ledger("another"), clock, *files)
    assert ended(trial, number) == ("incomplete", {}, {"other_store"})
    assert not trial.store.requests


def test_a_ledger_that_is_away_loses_nothing(trial, study, monkeypatch):
    settle, failures = trial.ledger.retrievals.settle, iter([True] * 3)

    def fail(outcomes):
        if outcomes and next(failures, False):
            raise sql.exc.OperationalError("away", None, Exception())
        settle(outcomes)

    monkeypatch.setattr(trial.ledger.retrievals, "settle", fail)
    for _ in range(3):
        with suppress(sql.exc.OperationalError):
            for _ in range(3):
                trial.step()
    assert ended(trial, study) == ("complete", {"received": 4}, set())
    assert trial.orthanc.uploads == 4


def test_nothing_is_begun_while_it_must_not_be(trial, study):
    trial.paused = True
    assert not trial.step()
    trial.paused, trial.source = False, ""
    assert not trial.step()
    trial.source, trial.stopping = "orthanc", True
    assert not trial.step()
    assert not trial.store.requests
    trial.stopping = False
    assert ended(trial, study)[0] == "complete"
    trial.retriever.stop()
    assert trial.retriever.rest(0)


@pytest.mark.parametrize("compare", [True, False])
def test_what_is_on_its_way_is_broken_off_and_costs_nothing(trial, files, compare):
    if compare:
        for file in files:
            trial.orthanc.upload("", iter([file]))

    def stop(kind, *_):
        trial.stopping = kind != "search"

    trial.store.on_request = stop
    (number,) = trial.want(Resource(*uids_of(files[0])), compare=compare)
    trial.steps(number, most=5)
    assert trial.report(number).row.ended_at is None
    trial.store.on_request = lambda *_: None
    trial.stopping = False
    (row,) = trial.ledger.retrievals.pending(trial.ledger.retrievals.open("orthanc")[0], (), 9)
    assert (row.attempts, row.reason) == (0, None)
    assert ended(trial, number)[0] == "complete"


def test_what_had_come_before_a_kill_is_not_asked_for(trial, study, files, monkeypatch):
    """The ledger has its digests, and Orthanc has it; that it has was not written down."""

    def kill(outcomes):
        if outcomes:
            raise KeyboardInterrupt

    monkeypatch.setattr(trial.ledger.retrievals, "settle", kill)
    with pytest.raises(KeyboardInterrupt):
        trial.steps(study)
    monkeypatch.undo()
    trial.orthanc.files.popitem()  # one that was noted, and has not come
    again = Trial(trial.ledger, trial.time, *files, orthanc=trial.orthanc)
    assert ended(again, study) == ("complete", {"received": 4}, set())
    assert again.store.requests == {"search": 1, "open": 1}
    assert again.orthanc.uploads == 5


@pytest.mark.parametrize("size", [16, 1200])
def test_whatever_their_size_all_come(sqlite_ledger, clock, size):
    """Among small ones that come together is a large one, which is never whole in memory."""
    series = ("1.5", "1.5.1")
    files = [make_instance(*series, size=one) for one in (1, size, 1)]
    trial = Trial(sqlite_ledger, clock, *files)
    (number,) = trial.want(Resource("1.5"))
    assert ended(trial, number) == ("complete", {"received": 3}, set())
    assert sorted(trial.orthanc.files.values()) == sorted(files)
    assert trial.store.requests == {"search": 2, "retrieve": 1}


def test_what_orthanc_deletes_while_it_is_compared_is_brought(sqlite_ledger, clock, files):
    trial = Trial(sqlite_ledger, clock, *files)
    for file in files:
        trial.orthanc.upload("/instances", file)
    (number,) = trial.want(Resource(uids_of(files[0])[0]), compare=True)
    md5s, gone = trial.orthanc.md5s, []

    def deleted_meanwhile(instances):
        (name,) = instances
        if not gone:
            gone.append(trial.orthanc.files.pop(name))
        if name not in trial.orthanc.files:
            raise OrthancGoneError("it does not have it")
        return md5s(instances)

    trial.orthanc.md5s = deleted_meanwhile
    assert ended(trial, number) == ("complete", {"present": 3, "received": 1}, set())
    assert sorted(trial.orthanc.files.values()) == sorted(files)


def test_a_second_outage_costs_no_attempts_of_what_the_first_one_met(trial, study, files):
    """Something else came between the two, as a search does."""

    def away(kind, *_):
        if kind != "search":
            raise AWAY

    trial.store.on_request = away
    while trial.remote.pace.is_open:
        trial.step()
    trial.pass_time(70)
    trial.remote.pace.succeeded(trial.clock.now())
    trial.store.on_request = _away
    for _ in range(50):
        trial.step()
        trial.pass_time(70)
    assert trial.report(study).row.ended_at is None
    trial.store.on_request = lambda *_: None
    assert ended(trial, study) == ("complete", {"received": 4}, set())


def test_one_account_is_in_the_way_of_no_other(sqlite_ledger, clock):
    files = [make_instance(size=1) for _ in range(MOST_OPEN + 1)]
    trial = Trial(sqlite_ledger, clock, *files)
    resources = [Resource(uids_of(file)[0]) for file in files]
    waiting = trial.want(*resources)
    (number,) = trial.want(resources[0], account=B)
    trial.paused = True
    assert trial.steps(number, most=10).row.state == "complete"
    assert {trial.report(one).row.state for one in waiting} == {"waiting"}
    trial.paused = False
    trial.store.on_request = _away
    (number,) = trial.want(resources[1], account=B)
    assert trial.steps(number, most=10).row.state == "complete"


@pytest.mark.parametrize("is_newer", [True, False])
@pytest.mark.parametrize("wanted", [1, 3])
def test_what_orthanc_has_received_since_an_interruption_is_left(
    sqlite_ledger, clock, files, wanted, is_newer
):
    """It would overwrite it (``OverwriteInstances``)."""
    trial = Trial(sqlite_ledger, clock, *files, overwrites=True)
    newer = files[0][:-1] + bytes([files[0][-1] ^ is_newer])

    def broken_off(file):
        if file == files[0]:
            trial.orthanc.on_upload = lambda _: None
            trial.orthanc.upload("", newer)
            raise OrthancUnavailableError("it breaks off")

    trial.orthanc.on_upload = broken_off
    (number,) = trial.want(Resource(*uids_of(files[0])[:wanted]))
    state, counts, _ = ended(trial, number)
    assert state == ("incomplete" if is_newer else "complete")
    assert counts.get("different", 0) == is_newer
    assert newer in trial.orthanc.files.values()
    assert trial.orthanc.uploads == sum(counts.values()) + 1, "and none twice"


def _away(*_):
    raise AWAY
