"""Which priors of whom are fetched, and when."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from orthanc_gcp.configuration import PrefetchRule
from orthanc_gcp.errors import (
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
    StoreError,
)
from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.retrieval import prefetch
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.retrieval.prefetch import Prefetcher
from orthanc_gcp.retrieval.remote import Pace, RemoteStore
from orthanc_gcp.retrieval.worklist import UnreadableEntryError
from tests.retrieval.simulation import Inline
from tests.support.ledgers import ORTHANC, A
from tests.support.simulation import FakeClock

NAMES = {
    "study": "0020000D",
    "series": "0020000E",
    "instance": "00080018",
    "patient": "00100020",
    "issuer": "00100021",
    "date": "00080020",
    "modality": "00080060",
    "body": "00180015",
}
NEW = {"patient": "4711", "date": "20260101", "modality": "CT", "study": "1.9"}


@dataclass
class Store:
    """A store of instances, each a row of attributes; it takes a PatientID without its case."""

    rows: list[dict[str, str]] = field(default_factory=list)
    searches: Counter[str] = field(default_factory=Counter)
    fails: Exception | None = None

    def add(self, study: str, date: str = "20250101", **more: str) -> None:
        number = len(self.rows)
        usual = {"patient": "4711", "modality": "CT", "series": f"{study}.1"}
        self.rows.append({**usual, "study": study, "date": date, "instance": f"{number}", **more})

    def search(self, path: str, keys: dict[str, str], *, depth: int, page: int = 1000) -> Any:
        self.searches[path] += 1
        if self.fails is not None:
            raise self.fails
        seen = set()
        for row in self.rows:
            model = {NAMES[name]: {"Value": [value]} for name, value in row.items() if value}
            wanted = {tag: value for tag, value in keys.items() if tag != "includefield"}
            matches = all(
                model.get(tag, {}).get("Value", [""])[0].lower() == value.lower()
                for tag, value in wanted.items()
            )
            names = tuple(row[name] for name in ("study", "series", "instance")[:depth])
            if matches and names not in seen:
                seen.add(names)
                yield model


class Orthanc:
    """An Orthanc that has received one instance."""

    def __init__(self) -> None:
        self.attributes_of = dict(NEW)
        self.fails: Exception | None = None

    def studies_of(self, resources: Sequence[str]) -> list[str]:
        return list(resources)

    def find_study(self, uid: str) -> list[str]:
        return ["new"] if uid == self.attributes_of["study"] else []

    def members(self, resources: list[str]) -> list[str]:
        if self.fails is not None:
            raise self.fails
        return ["instance"]

    def attributes(self, _resource: str, long: Sequence[str]) -> dict[str, str]:
        assert long, "Orthanc answers 500 where none is named"
        named = self.attributes_of.items()
        tags = {NAMES[name]: value for name, value in named}
        return {f"{tag[:4]},{tag[4:]}".lower(): value for tag, value in tags.items()}


class Fetching:
    """A prefetcher whose time is a test's."""

    def __init__(self, ledger, time, worklist=None, pool=lambda *_: Inline(), **rule):
        self.ledger, self.time, self.clock = ledger, time, FakeClock()
        self.store, self.orthanc = Store(), Orthanc()
        self.source, self.paused, self.renewed = ORTHANC, False, 0
        outage = Outage(logging.getLogger("orthanc_gcp.test"), "down", "up", self.clock)
        pace = Pace(self.clock, outage)
        self.remote = RemoteStore(A, self.store, pace, 4, renew_token=self.renew)
        self.local = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
        self.prefetcher = Prefetcher(
            [PrefetchRule(account=A, **rule)],
            ledger,
            self.orthanc,
            {A: self.remote},
            Conditions(lambda: self.source, lambda _: not self.paused, lambda: False),
            lambda: self.local,
            lambda: None,
            worklist=worklist,
            pool=pool,
        )

    def renew(self):
        self.renewed += 1

    def receive(self, study="new"):
        """Receive a study; the UIDs of those that are wanted back."""
        self.prefetcher.noticed(self.source, [study])
        self.prefetcher.step()
        return self.wanted()

    def demand(self, *studies):
        """Ask for the priors of studies; the UIDs of those that are wanted back."""
        self.prefetcher.demand(self.source, A, studies)
        for _ in studies:
            self.prefetcher.step()
        return self.wanted()

    def wanted(self):
        return [row.study_instance_uid for row in self.ledger.retrievals.open(ORTHANC)]

    def row(self, study="new"):
        (row,) = self.ledger.prefetches.found(study)
        return row

    def pass_time(self, seconds):
        self.time.now += seconds
        self.clock.time += seconds


@pytest.fixture
def fetching(sqlite_ledger, clock):
    return Fetching(sqlite_ledger, clock)


@pytest.fixture
def with_rule(sqlite_ledger, clock):
    return lambda **rule: Fetching(sqlite_ledger, clock, **rule)


def test_the_newest_priors_of_the_patient(fetching):
    for year in range(2015, 2024):
        fetching.store.add(f"1.{year}", f"{year}0101")
    fetching.store.add("2.1", "20240101", patient="4712")
    assert fetching.receive() == ["1.2023", "1.2022", "1.2021"]
    assert (fetching.row().state, fetching.row().studies) == ("requested", 3)
    assert {row.cause for row in fetching.ledger.retrievals.open(ORTHANC)} == {"prefetch"}
    fetching.store.add("1.2024", "20240101")
    assert len(fetching.receive()) == 3, "once for a study"


def test_a_patient_id_is_compared_exactly(fetching):
    fetching.orthanc.attributes_of["patient"] = "ab-1 "
    for number, patient in enumerate(("AB-1", "ab-1", "ab-10", "Ab-1")):
        fetching.store.add(f"1.{number}", patient=patient)
    assert fetching.receive() == ["1.1"]


@pytest.mark.parametrize(
    ("ours", "theirs", "is_same"),
    [
        ("", "", True),
        ("North", "North", True),
        ("North", "South", False),
        ("North", "", False),
        ("", "North", False),
    ],
)
def test_an_issuer_is_part_of_who_it_is(fetching, ours, theirs, is_same):
    fetching.orthanc.attributes_of["issuer"] = ours
    fetching.store.add("1.1", issuer=theirs)
    assert bool(fetching.receive()) is is_same


@pytest.mark.parametrize(
    ("patient", "reason"),
    [
        ("", "no_patient_id"),
        (" \0 ", "no_patient_id"),
        ("*", "odd_patient_id"),
        ("47?1", "odd_patient_id"),
        ("1\\2", "odd_patient_id"),
        ("1,2", "odd_patient_id"),
        ("1\n2", "odd_patient_id"),
    ],
)
def test_nothing_is_searched_for_by_an_odd_patient_id(fetching, patient, reason):
    fetching.orthanc.attributes_of["patient"] = patient
    fetching.store.add("1.1", patient=patient)
    assert fetching.receive() == []
    assert (fetching.row().state, fetching.row().reason) == ("skipped", reason)
    assert not fetching.store.searches


def test_what_was_brought_back_itself_brings_nothing(fetching):
    fetching.store.add("1.1")
    fetching.ledger.retrievals.request(A, ORTHANC, [Resource("1.9")], compare_bytes=False)
    assert fetching.receive() == ["1.9"]
    assert fetching.row().reason == "brought_back"


def test_the_study_itself_and_newer_ones_are_no_priors(fetching):
    fetching.store.add("1.9")
    fetching.store.add("1.1", "20260102")
    fetching.store.add("1.2", "20260101")
    fetching.store.add("1.3", "")
    fetching.store.add("1.4", "no date")
    assert fetching.receive() == ["1.4", "1.2", "1.3"]


def test_the_age_of_priors(with_rule):
    fetching = with_rule(max_age_days=365)
    fetching.store.add("1.1", "20250101")
    fetching.store.add("1.2", "20241231")
    fetching.store.add("1.3", "")
    assert fetching.receive() == ["1.1"]


def test_the_modalities_and_body_parts_of_priors(with_rule):
    fetching = with_rule(prior_modalities=("CT", "MR"), prior_body_parts=("CHEST*",), max_studies=9)
    fetching.store.add("1.1", body="CHEST")
    fetching.store.add("1.2", body="HEAD")
    fetching.store.add("1.3", body="CHEST", modality="US")
    fetching.store.add("1.4", body="CHEST", modality="US")
    fetching.store.add("1.4", body="CHESTABDOMEN", modality="MR", series="1.4.2")
    fetching.store.add("1.5")
    assert sorted(fetching.receive()) == ["1.1", "1.4"]


def test_modalities_alone(with_rule):
    fetching = with_rule(prior_modalities=("MR",))
    fetching.store.add("1.1")
    fetching.store.add("1.2", modality="MR")
    assert fetching.receive() == ["1.2"]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"modalities": ("CT",)}, True),
        ({"modalities": ("MR",)}, False),
        ({"tags": {"BodyPartExamined": "CHEST"}}, True),
        ({"tags": {"BodyPartExamined": "HEAD"}}, False),
    ],
    ids=str,
)
def test_which_studies_bring_priors(with_rule, rule, wanted):
    fetching = with_rule(**rule)
    fetching.orthanc.attributes_of["body"] = "CHEST"
    fetching.store.add("1.1")
    assert bool(fetching.receive()) is wanted
    assert fetching.row().reason == (None if wanted else "no_rule")


def test_a_schedule_is_waited_for_and_not_for_ever(with_rule):
    fetching = with_rule(schedule=("20:00-06:00",))
    fetching.store.add("1.1")
    assert fetching.receive() == []
    assert fetching.row().reason == "schedule"
    fetching.pass_time(61)
    fetching.local = fetching.local.replace(hour=21)
    fetching.prefetcher.step()
    assert fetching.wanted() == ["1.1"]
    fetching.local = fetching.local.replace(hour=12)
    fetching.receive("another")
    fetching.pass_time(prefetch.LONGEST_WAIT + 1)
    fetching.prefetcher.step()
    assert fetching.row("another").reason == "too_late"


def test_a_store_that_is_away_is_waited_for(fetching):
    fetching.store.add("1.1")
    fetching.store.fails = StoreError("away", reason=StoreReason.UNAVAILABLE, retryable=True)
    for _ in range(30):
        fetching.receive()
        fetching.pass_time(70)
    assert fetching.row().state == "waiting"
    fetching.store.fails = None
    fetching.pass_time(120)
    assert fetching.receive() == ["1.1"]


def test_a_store_that_refuses_is_not_asked_for_ever(fetching):
    fetching.store.fails = StoreError("no", reason=StoreReason.FORBIDDEN)
    for _ in range(30):
        fetching.receive()
        fetching.pass_time(70)
    assert (fetching.row().state, fetching.row().reason) == ("skipped", "forbidden")
    assert fetching.row().attempts == prefetch.MOST_ATTEMPTS - 1


def test_a_token_that_is_refused_is_renewed(fetching):
    fetching.store.fails = StoreError("old", reason=StoreReason.UNAUTHORIZED, retryable=True)
    fetching.receive()
    assert fetching.renewed == 1


@pytest.mark.parametrize("error", [KeyError("new"), OrthancGoneError("gone", status=404)])
def test_a_study_that_is_gone(fetching, error):
    fetching.orthanc.fails = error
    assert fetching.receive() == []
    assert fetching.row().reason == "gone"


def test_an_orthanc_that_is_away_is_waited_for(fetching):
    fetching.store.add("1.1")
    fetching.orthanc.fails = OrthancUnavailableError("it does not answer")
    assert fetching.receive() == []
    with pytest.raises(OrthancUnavailableError):
        fetching.prefetcher.step()
    fetching.orthanc.fails = None
    fetching.prefetcher.step()
    assert fetching.wanted() == ["1.1"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OrthancRefusedError("no", status=500), "unreadable"), (ValueError("x"), "unexpected")],
)
def test_what_fails_each_time_ends(fetching, error, reason):
    fetching.orthanc.fails = error
    for _ in range(20):
        fetching.receive()
        fetching.pass_time(70)
    assert (fetching.row().state, fetching.row().reason) == ("skipped", reason)


def test_nothing_is_begun_while_it_must_not_be(fetching):
    fetching.store.add("1.1")
    fetching.prefetcher.noticed(ORTHANC, ["new"])
    fetching.paused = True
    assert not fetching.prefetcher.step()
    fetching.paused, fetching.source = False, ""
    assert not fetching.prefetcher.step()
    fetching.prefetcher.stop()
    assert fetching.wanted() == []


def test_what_a_store_names_is_not_asked_for_blindly(fetching):
    fetching.store.add("a/b")
    fetching.store.add("1.*")
    fetching.store.add("1,2")
    assert fetching.receive() == []


def test_the_work_for_one_study_has_a_bound(with_rule, monkeypatch):
    monkeypatch.setattr(prefetch, "MOST_EXAMINED", 3)
    monkeypatch.setattr(prefetch, "MOST_SERIES", 2)
    fetching = with_rule(prior_body_parts=("CHEST",))
    for study in range(10):
        for series in range(5):
            fetching.store.add(f"1.{study}", series=f"1.{study}.{series}", body="HEAD")
    assert fetching.receive() == []
    assert fetching.store.searches == {"/studies": 1, "/series": 3, "/instances": 3 + 6}


def test_somebody_asks_for_priors_whatever_the_rule_says(with_rule):
    fetching = with_rule(modalities=("MR",), schedule=("23:00-24:00",))
    fetching.store.add("1.1")
    assert fetching.receive() == []
    assert fetching.row().reason == "no_rule"
    assert fetching.demand("new") == ["1.1"]
    assert (fetching.row().state, fetching.row().reason) == ("requested", None)
    fetching.store.add("1.2", "20250201")
    assert fetching.demand("new") == ["1.1", "1.2"], "as often as somebody asks"


def test_the_rule_for_such_a_study_says_which_are_asked_for(with_rule):
    fetching = with_rule(modalities=("CT",), schedule=("23:00-24:00",), max_studies=1)
    for study in ("1.1", "1.2"):
        fetching.store.add(study)
    assert fetching.receive() == []
    assert len(fetching.demand("new")) == 1


def test_priors_are_asked_for_without_any_rule(fetching):
    fetching.prefetcher._rules.clear()
    fetching.store.add("1.1")
    assert fetching.receive() == []
    assert fetching.demand("new") == ["1.1"]


def test_what_is_asked_for_while_it_is_looked_for_is_looked_for_again(fetching):
    fetching.store.add("1.1")
    fetching.prefetcher.noticed(ORTHANC, ["new"])
    (before,) = fetching.ledger.prefetches.due(ORTHANC, [A], 1)
    fetching.pass_time(1)
    fetching.prefetcher.demand(ORTHANC, A, ["new"])
    fetching.prefetcher._skip(before, "no_rule")
    assert fetching.row().state == "waiting"


# -- On a search -----------------------------------------------------------------------------------


def search(fetching, study):
    """Somebody searches for the patient of a study; what is wanted back then."""
    fetching.ledger.prefetches.search_for(ORTHANC, study, A, 60.0)
    fetching.prefetcher.step()
    return fetching.wanted()


@pytest.fixture
def searching(sqlite_ledger, clock):
    return Fetching(sqlite_ledger, clock, on=("Query",), max_studies=2)


def test_the_newest_of_a_patient_who_is_searched_for(searching):
    for number, date in enumerate(("20230101", "20250101", "20240101")):
        searching.store.add(f"1.{number}", date)
    searching.store.add("2.1", patient="4712")
    searching.store.add("2.2", issuer="other")
    assert searching.receive() == []  # which such a rule is not for
    assert sorted(search(searching, "1.0")) == ["1.1", "1.2"]
    assert searching.row("1.0").state == "requested"

    # Not again at once, and later what has come since.
    searching.store.add("1.3", "20260101")
    assert sorted(search(searching, "1.0")) == ["1.1", "1.2"]
    searching.pass_time(61)
    assert sorted(search(searching, "1.0")) == ["1.1", "1.2", "1.3"]


def test_a_rule_for_instances_is_for_no_search(fetching):
    fetching.store.add("1.1")
    assert search(fetching, "1.1") == []
    assert fetching.row("1.1").reason == "no_rule"


def test_a_study_that_only_orthanc_has(searching):
    searching.store.add("1.1")
    assert search(searching, "1.9") == ["1.1"]
    assert search(searching, "3.3") == ["1.1"]
    assert searching.row("3.3").reason == "gone"


def test_a_store_that_is_away_when_it_is_asked_whose_a_study_is(searching):
    searching.store.add("1.1")
    searching.store.fails = StoreError("away", reason=StoreReason.UNAVAILABLE, retryable=True)
    assert search(searching, "1.1") == []
    assert searching.row("1.1").state == "waiting"
    searching.store.fails = None
    searching.pass_time(7200)
    searching.prefetcher.step()
    assert searching.wanted() == ["1.1"]


# -- On an entry of a worklist ---------------------------------------------------------------------


class Worklist:
    """Entries by their digests."""

    def __init__(self):
        self.attributes_of = {}

    def entries(self):
        return list(self.attributes_of)

    def attributes(self, digest):
        found = self.attributes_of[digest]
        if isinstance(found, Exception):
            raise found
        return found


def test_an_entry_of_a_worklist(sqlite_ledger, clock):
    worklist = Worklist()
    fetching = Fetching(sqlite_ledger, clock, worklist, on=("Worklist",), modalities=("CT",))
    fetching.store.add("1.1")
    patient = {"0010,0020": "4711", "0008,0060": "CT", "0008,0020": "20200101"}
    worklist.attributes_of = {
        "ab": patient,
        "cd": {**patient, "0008,0060": "MR"},
        "ef": UnreadableEntryError("it cannot be read"),
        "01": {"0008,0060": "CT"},
    }
    for _ in range(5):
        fetching.prefetcher.step()
    assert fetching.wanted() == ["1.1"]
    reasons = [fetching.row(f"worklist/{one}").reason for one in ("ab", "cd", "ef", "01")]
    assert reasons == [None, "no_rule", "unreadable", "no_patient_id"]
    assert fetching.receive() == ["1.1"], "which such a rule is not for"

    # It is looked at now and then; what was there before stays done, also after a restart.
    worklist.attributes_of["23"] = patient
    fetching.prefetcher.step()
    assert fetching.ledger.prefetches.found("worklist/23") == []
    fetching.pass_time(11)
    del worklist.attributes_of["cd"]
    fetching.prefetcher.step()
    assert fetching.row("worklist/23").state == "requested"
    again = Fetching(sqlite_ledger, clock, worklist, on=("Worklist",))
    again.store.add("1.5")
    assert not again.prefetcher.step()


def test_an_entry_that_has_gone(sqlite_ledger, clock):
    worklist = Worklist()
    worklist.attributes_of["ab"] = {}
    fetching = Fetching(sqlite_ledger, clock, worklist, on=("Worklist",))
    fetching.source = ""
    assert not fetching.prefetcher.step()
    fetching.ledger.prefetches.add(ORTHANC, ["worklist/zz"], [A])
    fetching.source = ORTHANC
    fetching.prefetcher.step()
    assert fetching.row("worklist/zz").reason == "gone"
