"""A store that answers searches with something else: it confirms nothing that it did not name."""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.verification.conflict import Conflicts
from orthanc_gcp.custody.verification.read_back import (
    FEW,
    MOST_FAILURES,
    MOST_REFUSALS,
    SEARCH_LAG,
    ReadBack,
)
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.dicomweb import client as client_module
from orthanc_gcp.ledger.rows import NewTransfer, Outcome, Series
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage
from orthanc_gcp.transport.authorization import Authorization
from tests.orthanc.orthanc_stub import stub
from tests.support.raw_server import RawServer, answer
from tests.support.sent import rows
from tests.support.simulation import FakeClock

STUDY, SERIES = "1.2", "1.2.3"
Match = dict[str, Any]
Lie = Callable[[list[tuple[str, str, str]]], Any]


def match(study: Any, series: Any, instance: Any) -> Match:
    tags = {"0020000D": study, "0020000E": series, "00080018": instance}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in tags.items() if uid is not None}


def honest(asked: list[tuple[str, str, str]]) -> list[Match]:
    return [match(*uids) for uids in asked]


def url_of(study: str, series: str, instance: str) -> str:
    return f"http://h/dicomWeb/studies/{study}/series/{series}/instances/{instance}"


class LyingStore(RawServer):
    """Answers each search of what it was told to have by a function; then nothing is left."""

    def __init__(self, lie: Lie) -> None:
        self.lie = lie
        self.has: list[tuple[str, str, str]] = []
        super().__init__(self._answer)

    def _answer(self, connection: Any, head: bytes) -> None:
        target = urlsplit(head.split()[1].decode())
        query = parse_qs(target.query)
        study, _, series, _ = map(unquote, target.path.partition("/studies/")[2].split("/"))
        instance = query.get("SOPInstanceUID", [None])[0]
        asked = [
            uids for uids in self.has if uids[:2] == (study, series) and instance in (None, uids[2])
        ]
        if int(query["offset"][0]):
            asked = []
        said = self.lie(asked)
        connection.sendall(said if isinstance(said, bytes) else answer(json.dumps(said).encode()))


class Trial:
    """Instances that a store has acknowledged, and a reader of what it says then."""

    def __init__(self, ledger: Any, clock: Any) -> None:
        self.ledger, self.clock, self.steady = ledger, clock, FakeClock()
        self.window = CongestionWindow(
            self.steady, 8, Outage(logging.getLogger("store"), "down", "up", self.steady)
        )
        self.destination: Destination | None = None
        self.destinations: dict[str, Destination] = {}
        self.reader = ReadBack(ledger, self.destinations, lambda: False, lambda: 1.0)
        self.timeout, self.verify = 2.0, "Metadata"

    def acknowledge(self, *instances: tuple[str, str, str], source: str = "o") -> None:
        arrivals = [
            NewTransfer(
                account="a",
                source=source,
                orthanc_id="/".join(uids),
                study_instance_uid=uids[0],
                series_instance_uid=uids[1],
                sop_instance_uid=uids[2],
                size_bytes=100,
                received_at=self.ledger.now(),
            )
            for uids in instances
        ]
        self.ledger.arrivals.record(arrivals)
        self.send(source)

    def send(self, source: str = "o") -> None:
        """What waits is acknowledged."""
        while claimed := self.ledger.queue.claim(
            "a", source, "b", "w", most_instances=1000, most_bytes=10**9, most_batches=9
        ):
            self.ledger.queue.settle(
                "b",
                [Outcome(row.id, State.ACKNOWLEDGED, sha256="d", attempts=1) for row in claimed],
            )

    def read(self, store: RawServer, *series: Series) -> dict[str, str]:
        """Read back these series, or all; the states by SOP Instance UID."""
        client = DicomStore(store.url, lambda: Authorization("token"), timeout=self.timeout)
        made = Destination("a", client, client, self.window, False, self.verify)
        scopes = self.destination or made
        self.destination = replace(made, reading=scopes.reading, finding=scopes.finding)
        known = dict.fromkeys(Series(*self.uids(row)[:2]) for row in rows(self.ledger))
        for one in series or known:
            self.steady.time += 1
            self._confirm([one])
        client.close()
        return self.states()

    def read_together(self, store: RawServer, series: list[Series]) -> None:
        """Read back these series as after a batch."""
        self.read(store, Series("none", "none"))
        client = DicomStore(store.url, lambda: Authorization("token"), timeout=self.timeout)
        self.destination = replace(self.destination, store=client)
        self._confirm(series)
        client.close()

    def _confirm(self, series: list[Series]) -> None:
        self.destinations["a"] = self.destination
        self.reader.confirm("a", series)

    def states(self) -> dict[str, str]:
        return {row.sop_instance_uid: row.state for row in rows(self.ledger)}

    @staticmethod
    def uids(row: Any) -> tuple[str, str, str]:
        return row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid


@pytest.fixture
def trial(sqlite_ledger, clock):
    return Trial(sqlite_ledger, clock)


def instances(count: int) -> list[tuple[str, str, str]]:
    return [(STUDY, SERIES, f"1.2.3.{number}") for number in range(count)]


LIES: dict[str, Lie] = {
    "another study and series": lambda asked: [match("9.9", "9.9.9", uids[2]) for uids in asked],
    "another study": lambda asked: [match("9.9", uids[1], uids[2]) for uids in asked],
    "another series": lambda asked: [match(uids[0], "9.9", uids[2]) for uids in asked],
    "no study": lambda asked: [match(None, uids[1], uids[2]) for uids in asked],
    "no series": lambda asked: [match(uids[0], None, uids[2]) for uids in asked],
    "no instance": lambda asked: [match(uids[0], uids[1], None) for uids in asked],
    "only the instance": lambda asked: [match(None, None, uids[2]) for uids in asked],
    "numbers": lambda asked: [match(*uids[:2], 1.2) for uids in asked],
    "several values": lambda asked: [
        {**match(*uids), "0020000D": {"vr": "UI", "Value": [uids[0], "9.9"]}} for uids in asked
    ],
    "no values": lambda asked: [{tag: {"vr": "UI"} for tag in match(*uids)} for uids in asked],
    "bare strings": lambda asked: [
        {"0020000D": uids[0], "0020000E": uids[1], "00080018": uids[2]} for uids in asked
    ],
    "lists": lambda asked: [list(uids) for uids in asked],
    "an object": lambda asked: match(*asked[0]) if asked else {},
    "null": lambda asked: None,
    "true": lambda asked: True,
    "an empty list": lambda asked: [],
    "204": lambda asked: b"HTTP/1.1 204 No Content\r\n\r\n",
    "an empty body": lambda asked: answer(b""),
    "a web page": lambda asked: answer(b"<html>hello</html>", kind="text/html"),
    "a Retrieve URL of another study": lambda asked: [
        {
            **match(None, None, uids[2]),
            "00081190": {"vr": "UR", "Value": [url_of("9.9", *uids[1:])]},
        }
        for uids in asked
    ],
    "the names of others": lambda asked: [
        match(*uids[:2], f"{uids[2]}.{number}") for uids in asked for number in range(3)
    ],
}


@pytest.mark.parametrize("count", [FEW, FEW + 5], ids=["few", "many"])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_what_is_not_named_by_all_three_uids_is_not_confirmed(trial, lie, count):
    with LyingStore(lie) as store:
        store.has = instances(count)
        trial.acknowledge(*store.has)
        for _ in range(2):
            assert set(trial.read(store).values()) <= {"acknowledged", "delayed"}
            trial.clock.now += SEARCH_LAG + 1
    assert all(row.confirmed_at is None for row in rows(trial.ledger))


def test_more_than_was_asked_for_does_no_harm(trial):
    foreign = [match("9.9", "9.9.9", f"9.{number}") for number in range(50)]
    with LyingStore(lambda asked: [*foreign, *honest(asked), *honest(asked), *foreign]) as store:
        store.has = instances(FEW + 5)[:-1]
        trial.acknowledge(*instances(FEW + 5))
        states = trial.read(store)
    missing = instances(FEW + 5)[-1][2]
    assert states.pop(missing) == "acknowledged"
    assert set(states.values()) == {"confirmed"}


def test_a_retrieve_url_names_an_instance_too(trial):
    def by_url(asked):
        return [{"00081190": {"vr": "UR", "Value": [url_of(*uids)]}} for uids in asked]

    with LyingStore(by_url) as store:
        store.has = instances(FEW + 5)
        trial.acknowledge(*store.has)
        assert set(trial.read(store).values()) == {"confirmed"}


@pytest.mark.parametrize("count", [FEW, FEW + 5], ids=["few", "many"])
def test_two_studies_that_share_their_other_uids_are_two(trial, count):
    """Six of twelve are not there: those of the second study are sent again."""
    here = instances(count)
    elsewhere = [("7.7", *uids[1:]) for uids in here]
    with LyingStore(honest) as store:
        store.has = here
        trial.acknowledge(*here, *elsewhere)
        trial.read(store)
        of_study = {row.study_instance_uid: row.state for row in rows(trial.ledger)}
        assert of_study == {STUDY: "confirmed", "7.7": "acknowledged"}
        trial.clock.now += SEARCH_LAG + 1
        trial.read(store)
    found = {(row.study_instance_uid, row.state, row.reason) for row in rows(trial.ledger)}
    assert found == {(STUDY, "confirmed", None), ("7.7", "delayed", "missing")}


def test_pages_without_end_end(trial, monkeypatch):
    monkeypatch.setattr(client_module, "LARGEST_OFFSET", 3 * 5000)
    numbers = itertools.count()

    def endless(_):
        return [match(STUDY, SERIES, f"8.{next(numbers)}") for _ in range(5000)]

    trial.timeout = 60.0
    with LyingStore(endless) as store:
        trial.acknowledge(*instances(FEW + 1))
        assert set(trial.read(store).values()) == {"acknowledged"}
        assert len(store.heads) == 4
    assert {row.reason for row in rows(trial.ledger)} == {"protocol"}
    assert all("its pages do not end" in row.detail for row in rows(trial.ledger))


def test_odd_uids_that_a_store_can_have_are_asked_for_and_confirmed(trial):
    """Google stores and finds what PS3.5 would not call a UID."""
    odd = [("study_1", "a b", "x%2Fy?z#ü"), ("...", "1", "&=+;,@:!$'()*~")]
    with LyingStore(honest) as store:
        store.has = odd
        trial.acknowledge(*odd)
        assert set(trial.read(store).values()) == {"confirmed"}
    assert b"/studies/study_1/series/a%20b/instances?" in store.heads[0]


def test_a_series_that_the_store_is_slow_to_fail_at_is_left_by_the_others(trial):
    """They are due by themselves, at once."""

    def slow(asked):
        if any(uids[1] == "s0" for uids in asked):
            trial.steady.time += 60
            return answer(b"{}", "504 Gateway Timeout")
        return honest(asked)

    with LyingStore(slow) as store:
        store.has = [(STUDY, f"s{n}", f"2.{n}") for n in range(3)]
        trial.acknowledge(*store.has)
        series = [Series(*uids[:2]) for uids in store.has]
        trial.read_together(store, series)
        assert trial.ledger.confirmations.due("a") == series[1:]
        assert trial.read(store, *series[1:])["2.1"] == "confirmed"


class Defective(DicomStore):
    """A client with a defect."""

    def instances(self, study: str, series: str | None = None, **more: Any) -> Any:
        if series == "s0":
            raise RuntimeError("a defect")
        return super().instances(study, series, **more)


def test_a_defect_at_one_series_stops_no_other(trial, monkeypatch, caplog):
    monkeypatch.setattr(f"{__name__}.DicomStore", Defective)
    with LyingStore(honest) as store:
        store.has = [(STUDY, f"s{n}", f"2.{n}") for n in range(3)]
        trial.acknowledge(*store.has)
        trial.read_together(store, [Series(*uids[:2]) for uids in store.has])
    assert list(trial.states().values()) == ["acknowledged", "confirmed", "confirmed"]
    (row, *_) = rows(trial.ledger)
    assert row.detail == "it cannot be read back: RuntimeError, see the log"
    assert row.next_attempt_at > trial.clock.now
    assert "a defect" in caplog.text


# -- One that cannot be read is in the way of no other --------------------------------------------


def refusing(status: str, *of: str) -> Lie:
    """Refuses to search these series, or all."""

    def lie(asked):
        if not of or any(uids[1] in of for uids in asked):
            return answer(b"{}", status)
        return honest(asked)

    return lie


REFUSALS = ["400 Bad Request", "403 Forbidden", "503 No"]


@pytest.mark.parametrize("status", REFUSALS)
def test_a_series_whose_search_is_refused_holds_up_no_other(trial, status):
    with LyingStore(refusing(status, "bad")) as store:
        store.has = [(STUDY, "bad", "1"), *((STUDY, f"s{n}", f"2.{n}") for n in range(5))]
        trial.acknowledge(*store.has)
        states = trial.read(store)
        assert states.pop("1") == "acknowledged"
        assert set(states.values()) == {"confirmed"}
        assert trial.window.delay == 0
        bad = rows(trial.ledger)[0]
        assert bad.detail.startswith("it cannot be read back: ")
        assert status[:3] in bad.detail
        assert bad.next_attempt_at > trial.clock.now
        waits = []
        while (bad := rows(trial.ledger)[0]).state == "acknowledged":
            waits.append(bad.next_attempt_at - trial.clock.now)
            trial.clock.now = bad.next_attempt_at
            assert trial.ledger.confirmations.due("a") == [Series(STUDY, "bad")]
            trial.read(store, Series(STUDY, "bad"))
            assert trial.window.delay == 0
    assert waits == sorted(waits)
    most = MOST_REFUSALS if status.startswith("400") else MOST_FAILURES
    assert (bad.state, 1 + len(waits)) == ("quarantined", most)
    assert status[:3] in bad.detail


@pytest.mark.parametrize("status", REFUSALS)
def test_what_all_series_share_is_the_destinations(trial, status):
    """However long it lasts: nothing is put into quarantine, and the account pauses."""
    with LyingStore(refusing(status)) as store:
        store.has = [(STUDY, f"s{n}", f"2.{n}") for n in range(5)]
        trial.acknowledge(*store.has)
        for _ in range(20):
            assert set(trial.read(store).values()) == {"acknowledged"}
            trial.clock.now += 60
        assert trial.window.delay > 0
        assert status[:3] in trial.window.problem
        assert max(row.attempts for row in rows(trial.ledger)) < 6
        store.lie = honest
        assert set(trial.read(store).values()) == {"confirmed"}
        assert trial.window.problem is None


def test_a_store_that_is_away_while_one_series_waits_does_not_end_in_quarantine(trial):
    with LyingStore(refusing("503 No")) as store:
        store.has = instances(1)
        trial.acknowledge(*store.has)
        for _ in range(20):
            assert set(trial.read(store).values()) == {"acknowledged"}
            trial.clock.now += 60
        store.lie = honest
        assert set(trial.read(store).values()) == {"confirmed"}


def test_rows_of_an_orthanc_that_is_gone_hold_up_nobody(trial):
    with LyingStore(honest) as store:
        store.has = instances(2)
        trial.acknowledge(*store.has)
        trial.ledger.arrivals.record(
            [
                NewTransfer("a", "gone", f"g{n}", *uids, size_bytes=9, received_at=1.0)
                for n, uids in enumerate(store.has)
            ]
        )
        trial.read(store)
    assert [row.state for row in rows(trial.ledger)] == ["confirmed"] * 2 + ["waiting"] * 2


def test_what_is_acknowledged_and_never_there_ends_in_quarantine(trial, clock):
    """As long as others are found; until then it is sent again and again."""
    with LyingStore(honest) as store:
        store.has = [(STUDY, f"s{n}", f"2.{n}") for n in range(100)]
        trial.acknowledge((STUDY, "lost", "1"))
        sendings = 0
        while (row := rows(trial.ledger)[0]).state != "quarantined":
            trial.acknowledge(store.has[sendings])
            trial.read(store)
            clock.now += SEARCH_LAG + 1
            trial.read(store, Series(STUDY, "lost"))
            clock.now += 120
            trial.ledger.queue.requeue_due("a")
            for claimed in trial.ledger.queue.claim(
                "a", "o", "b", "w", most_instances=9, most_bytes=999, most_batches=9
            ):
                outcome = Outcome(
                    claimed.id, State.ACKNOWLEDGED, sha256="d", attempts=claimed.attempts + 1
                )
                trial.ledger.queue.settle("b", [outcome])
            sendings += 1
            assert sendings < 30
    assert row.reason == "missing"
    assert sendings >= 3


def test_what_something_was_found_since_is_sent_again_once_more_and_not_for_ever(trial, clock):
    """Of a store that shows nothing, then one other instance, then nothing again."""

    def send_again():
        clock.now += SEARCH_LAG + 120
        trial.ledger.queue.requeue_due("a")
        trial.send()
        clock.now += SEARCH_LAG + 1

    with LyingStore(lambda asked: []) as store:
        series = [(STUDY, f"s{n}", f"2.{n}") for n in range(9)]
        trial.acknowledge(*series)
        clock.now += SEARCH_LAG + 1
        assert Counter(trial.read(store).values()) == {"delayed": 3, "acknowledged": 6}
        send_again()
        store.lie, store.has = honest, [(STUDY, "other", "1")]
        trial.acknowledge(*store.has)
        assert trial.read(store, Series(STUDY, "other"))["1"] == "confirmed"
        store.lie = lambda asked: []
        assert Counter(trial.read(store).values()) == {"confirmed": 1, "delayed": 9}
        send_again()
        assert Counter(trial.read(store).values()) == {"confirmed": 1, "acknowledged": 9}


# -- A file without end ---------------------------------------------------------------------------


class EndlessStore(LyingStore):
    """Finds what it has, and sends of each file more and more; ``sent`` has how many bytes."""

    def __init__(self) -> None:
        self.sent = 0
        super().__init__(honest)

    def _answer(self, connection: Any, head: bytes) -> None:
        target = head.split()[1].decode()
        if target.endswith(":getStorageInfo"):
            connection.sendall(answer(b"{}", "404 Not Found"))
        elif "/instances/" in target:
            kind = b"Content-Type: application/dicom\r\nTransfer-Encoding: chunked"
            connection.sendall(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % kind)
            while self.sent < MOST_SENT:  # else a test that fails would not end
                connection.sendall(b"10000\r\n%b\r\n" % (b"x" * 0x10000))
                self.sent += 0x10000
            connection.sendall(b"0\r\n\r\n")
        else:
            super()._answer(connection, head)


MOST_SENT = 64 << 20


def test_a_file_without_end_is_another_one_and_is_not_read_on(trial):
    with EndlessStore() as store:
        store.has = instances(1)
        trial.acknowledge(*store.has)
        trial.verify = "Bytes"
        assert set(trial.read(store).values()) == {"delayed"}
        assert store.sent < MOST_SENT
    (row,) = rows(trial.ledger)
    assert (row.reason, row.detail) == ("different", "the store gives back more than 100 bytes")


def test_a_file_without_end_is_compared_with_what_was_refused(trial):
    with EndlessStore() as store, stub({}) as orthanc:
        store.has = instances(1)
        trial.acknowledge(*store.has)
        trial.read(store, Series("none", "none"))
        (row,) = rows(trial.ledger)
        orthanc.answers[f"GET /instances/{row.orthanc_id}/file?{row.attachment_uuid}"] = b"x"
        source = OrthancSource(OrthancRest(orthanc.url), Path("/nowhere"))
        conflicts = Conflicts(trial.ledger, source, lambda: False)
        client = DicomStore(store.url, lambda: Authorization("token"), timeout=2.0)
        destination = replace(trial.destination, store=client)
        (claimed,) = trial.ledger.confirmations.acknowledged("a", Series(STUDY, SERIES))
        (found,) = conflicts.compare(destination, {claimed: "d" * 64})
        client.close()
        assert store.sent < MOST_SENT
    one = found[row.id]
    assert (one.error, one.read) == (None, False)
    assert one.difference.startswith(
        "the store has other bytes under these UIDs: more than 1048576 bytes, Orthanc has 100 with "
    )
    assert one.seen.sha256 is None
