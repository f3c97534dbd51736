"""Storage commitment as a modality sees it: asked by N-ACTION, reported by a new association."""

from __future__ import annotations

import threading
import time

import pytest
from pydicom.dataset import Dataset

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.commitment import request, service
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.upgrade import prepare
from tests.emulator.client import make_dicom
from tests.gateway.commitment.modality import Modality, committed, failures, information
from tests.support.orthanc import wait_until

# pynetdicom leaves a socket that could not be connected to the garbage collector.
LEFT_OPEN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def modality(monkeypatch):
    monkeypatch.setattr(service, "FIRST_LOOK", 0.05)
    monkeypatch.setattr(service, "IDLE", 0.2)
    monkeypatch.setattr(service, "REPORTING", Backoff(0.05, 0.05, jitter=0))
    one = Modality()
    one.listen()
    yield one
    one.stop()


@pytest.fixture
def gateway(start, modality, tmp_path):
    """Makes a gateway that knows the modality."""

    def make(gateway=None, rest=None, **options):
        known = {"m": ["MODALITY", "127.0.0.1", modality.port]}
        options = {"DicomModalities": known, "StorageDirectory": str(tmp_path), **options}
        return start(gateway, rest, **options)

    return make


@pytest.fixture
def ledger(client, tmp_path):
    """The ledger that a worker would have there."""
    address, _, path = client.web.partition("/v1/")
    store = StoreName(path.removesuffix("/dicomWeb"), address)
    engine = database.connect(database.url_of("", tmp_path))
    prepare(engine)
    yield Ledger(engine, stores={"google": store})
    engine.dispose()


def record(ledger, uid, state):
    """An instance on its way, in a state."""
    row = NewTransfer("google", "o", f"id-{uid}", "1.1", "1.2", uid, 10, 1.0)
    ledger.arrivals.record([row])
    with ledger.writing() as connection:
        chosen = transfers.c.sop_instance_uid == uid
        connection.execute(transfers.update().where(chosen).values(state=state))


def confirmed(ledger, client, *uids):
    """Instances that custody has sent."""
    stored(client, *uids)
    for uid in uids:
        record(ledger, uid, State.CONFIRMED)


def stored(client, *uids):
    client.store(
        *(
            make_dicom(StudyInstanceUID="1.1", SeriesInstanceUID="1.2", SOPInstanceUID=uid)
            for uid in uids
        )
    )


def test_what_the_store_has_is_committed(gateway, client, modality, ledger):
    confirmed(ledger, client, "1.3", "1.4")
    running = gateway()
    assert modality.ask(running.port, information("9.1", "1.3", "1.4")) == 0
    ((kind, report, calling),) = modality.wait_for_reports()
    assert (kind, report.TransactionUID, calling) == (1, "9.1", "GOOGLE")
    assert sorted(committed(report)) == ["1.3", "1.4"]
    assert report.RetrieveAETitle == "GOOGLE"
    assert "FailedSOPSequence" not in report
    wait_until(lambda: running.gateway.status().commitments.count == 0)


def test_what_it_has_not_is_failed_with_its_reason(gateway, client, modality, ledger):
    confirmed(ledger, client, "1.3")
    stored(client, "1.4", "1.5")  # of the one, who knows which version
    record(ledger, "1.5", State.QUARANTINED)  # the store has other bytes
    record(ledger, "1.6", State.CONFIRMED)  # and it was deleted there
    running = gateway()
    asked = information("9.2", "1.3", "1.4", "1.5", "1.6")
    other = Dataset()
    other.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    other.ReferencedSOPInstanceUID = "1.3"
    asked.ReferencedSOPSequence.append(other)
    assert modality.ask(running.port, asked) == 0
    ((kind, report, _),) = modality.wait_for_reports()
    assert kind == 2
    assert committed(report) == ["1.3"]
    assert failures(report) == {"1.3": 0x0119, "1.4": 0x0112, "1.5": 0x0110, "1.6": 0x0112}


def test_what_is_on_its_way_is_waited_for(gateway, client, modality, ledger):
    record(ledger, "1.3", State.WAITING)
    confirmed(ledger, client, "1.4")
    running = gateway()
    assert modality.ask(running.port, information("9.3", "1.3", "1.4")) == 0

    def shown():
        return running.gateway.status().as_json()["StorageCommitment"]["Oldest"][0]

    wait_until(lambda: shown()["Detail"] == "instances that are on their way to the store")
    assert modality.reports == []
    assert [shown()[name] for name in ("State", "Waiting", "Committed")] == ["Waiting", 1, 1]
    stored(client, "1.3")
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.CONFIRMED))
    ((kind, report, _),) = modality.wait_for_reports()
    assert (kind, sorted(committed(report))) == (1, ["1.3", "1.4"])


class Orthanc:
    """Has instances, each in files of these UUIDs."""

    def __init__(self, files):
        self.files = files

    def call(self, _method, _path, question):
        return [
            {"ID": uuid, "MainDicomTags": {"SOPInstanceUID": uid}, "FileUuid": uuid}
            for uid in question["Query"]["SOPInstanceUID"].split("\\")
            for uuid in self.files.get(uid, ())
        ]

    def upload_each(self, _path, uids):
        for uid in uids:
            yield 200, [{"ID": one, "Type": "Instance"} for one in self.files[uid.decode()]]


def settle_all(ledger, state):
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(state=state))


@pytest.mark.parametrize("looked_at", [True, False])
def test_what_is_overwritten_before_the_report_is_not_committed(
    gateway, client, modality, ledger, looked_at
):
    """One of two was committed, and received again while the other was waited for."""
    confirmed(ledger, client, "1.3")
    record(ledger, "1.4", State.WAITING)
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(attachment_uuid="first"))
    orthanc = Orthanc({"1.3": ["first"], "1.4": ["first"]})
    running = gateway(rest=orthanc)
    assert modality.ask(running.port, information("9.3", "1.3", "1.4")) == 0

    def shown():
        return running.gateway.status().as_json()["StorageCommitment"]["Oldest"][0]

    wait_until(lambda: (shown()["Waiting"], shown()["Committed"]) == (1, 1))
    orthanc.files["1.3"] = ["second"]
    if looked_at:
        again = NewTransfer("google", "o2", "second", "1.1", "1.2", "1.3", 10, 2.0)
        ledger.arrivals.record([again])
    stored(client, "1.4")
    with ledger.writing() as connection:
        of_other = transfers.c.sop_instance_uid == "1.4"
        connection.execute(transfers.update().where(of_other).values(state=State.CONFIRMED))

    def waiting():
        (one,) = ledger.commitments.shown()
        rows = [row for some in ledger.commitments.waiting(one.row.id) for row in some]
        return [row.sop_instance_uid for row in rows]

    wait_until(lambda: waiting() == ["1.3"])
    where = "on their way to the store" if looked_at else "in Orthanc, which may send them"
    wait_until(lambda: where in (shown()["Detail"] or ""))
    assert modality.reports == []
    if not looked_at:
        again = NewTransfer("google", "o2", "second", "1.1", "1.2", "1.3", 10, 2.0)
        ledger.arrivals.record([again])
    settle_all(ledger, State.CONFIRMED)
    ((kind, report, _),) = modality.wait_for_reports()
    assert (kind, sorted(committed(report))) == (1, ["1.3", "1.4"])


@LEFT_OPEN
def test_what_is_overwritten_while_the_modality_is_away(gateway, client, modality, ledger, caplog):
    confirmed(ledger, client, "1.3", "1.4")
    modality.stop()
    running = gateway({"CommitmentTimeoutSeconds": 1})
    assert modality.ask(running.port, information("9.6", "1.3", "1.4")) == 0
    wait_until(lambda: "cannot be reported to MODALITY" in caplog.text)
    ledger.arrivals.record([NewTransfer("google", "o2", "2", "1.1", "1.2", "1.3", 10, 2.0)])
    requested = time.monotonic()
    wait_until(lambda: time.monotonic() > requested + 1.2)
    modality.listen()
    ((kind, report, _),) = modality.wait_for_reports()
    assert (kind, committed(report), failures(report)) == (2, ["1.4"], {"1.3": 0x0110})


def test_a_store_that_is_away_before_the_report(gateway, client, modality, ledger, monkeypatch):
    """What was committed cannot be looked at anew: nothing is reported, and nothing is undone."""
    confirmed(ledger, client, "1.3")
    record(ledger, "1.4", State.WAITING)
    search, away = DicomStore.search, threading.Event()

    def failing(self, path, keys, **options):
        if away.is_set() and keys.get("00080018") == "1.3":
            raise StoreError("it is away", reason="unavailable", retryable=True)
        return search(self, path, keys, **options)

    monkeypatch.setattr(DicomStore, "search", failing)
    running = gateway()
    assert modality.ask(running.port, information("9.9", "1.3", "1.4")) == 0

    def shown():
        return running.gateway.status().as_json()["StorageCommitment"]["Oldest"][0]

    wait_until(lambda: (shown()["Waiting"], shown()["Committed"]) == (1, 1))
    away.set()
    stored(client, "1.4")
    settle_all(ledger, State.CONFIRMED)
    wait_until(lambda: shown()["Detail"] == "it is away" and shown()["Reports"] > 1)
    assert (shown()["Committed"], modality.reports) == (2, [])
    away.clear()
    ((kind, report, _),) = modality.wait_for_reports()
    assert (kind, sorted(committed(report))) == (1, ["1.3", "1.4"])


def test_nothing_is_waited_for_without_end(gateway, modality, ledger):
    record(ledger, "1.3", State.SENDING)
    running = gateway({"CommitmentTimeoutSeconds": 1})
    assert modality.ask(running.port, information("9.4", "1.3")) == 0
    ((_, report, _),) = modality.wait_for_reports()
    assert failures(report) == {"1.3": 0x0110}


def test_after_a_restart(gateway, client, modality, ledger):
    record(ledger, "1.3", State.WAITING)
    first = gateway()
    assert modality.ask(first.port, information("9.5", "1.3")) == 0
    first.gateway.stop()
    first.thread.join(20)
    stored(client, "1.3")
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.CONFIRMED))
    gateway()
    ((kind, report, _),) = modality.wait_for_reports()
    assert (kind, committed(report)) == (1, ["1.3"])


@LEFT_OPEN
def test_a_modality_that_is_away_or_refuses_is_tried_again(
    gateway, client, modality, ledger, caplog
):
    confirmed(ledger, client, "1.3")
    modality.stop()
    modality._statuses = [0x0110, 0x0110]
    running = gateway()
    assert modality.ask(running.port, information("9.6", "1.3")) == 0
    wait_until(lambda: "cannot be reported to MODALITY" in caplog.text)
    (shown,) = running.gateway.status().as_json()["StorageCommitment"]["Oldest"]
    assert shown["State"] == "Decided"
    modality.listen()
    assert [kind for kind, *_ in modality.wait_for_reports(3)] == [1, 1, 1]
    assert "with the status 0110" in caplog.text
    wait_until(lambda: running.gateway.status().commitments.count == 0)
    assert len(modality.reports) == 3


def test_reports_have_an_end(gateway, client, modality, caplog, monkeypatch):
    monkeypatch.setattr(service, "MOST_REPORTS", 2)
    modality._statuses = [0x0110] * 5
    running = gateway()
    assert modality.ask(running.port, information("9.7", "1.3")) == 0
    wait_until(lambda: "it is given up" in caplog.text)
    assert running.gateway.status().commitments.count == 0
    assert len(modality.reports) == 2


def test_a_modality_that_negotiates_no_role(gateway, client, modality):
    modality.stop()
    modality._roles = False
    modality.listen()
    running = gateway()
    assert modality.ask(running.port, information("9.8", "1.3")) == 0
    modality.wait_for_reports()


def test_a_store_that_is_away_is_waited_for(gateway, client, modality, ledger, monkeypatch):
    confirmed(ledger, client, "1.3")
    search, failed = DicomStore.search, []

    def failing(self, *arguments, **options):
        if len(failed) < 2:
            failed.append(1)
            raise StoreError("it is away", reason="unavailable", retryable=True)
        return search(self, *arguments, **options)

    monkeypatch.setattr(DicomStore, "search", failing)
    running = gateway()
    assert modality.ask(running.port, information("9.9", "1.3")) == 0
    ((kind, *_),) = modality.wait_for_reports()
    assert (kind, len(failed)) == (1, 2)


@pytest.mark.parametrize(
    ("asked", "options", "status"),
    [
        (information("9.1", "1.3"), {"calling": "STRANGER"}, 0x0124),
        (information("9.1", "1.3"), {"action": 2}, 0x0123),
        (information("9.1", "1.3"), {"instance": "1.2.3"}, 0x0112),
        (information("9.1"), {}, 0x0114),
        (None, {}, 0x0114),
        (information("9.1", *(f"1.{number}" for number in range(11))), {}, 0x0213),
    ],
)
def test_requests_that_are_refused(gateway, modality, monkeypatch, asked, options, status):
    monkeypatch.setattr(request, "MOST_REFERENCES", 10)
    assert modality.ask(gateway().port, asked, **options) == status


def test_a_transaction_uid_that_is_used_again(gateway, modality, ledger):
    record(ledger, "1.3", State.WAITING)
    port = gateway().port
    assert modality.ask(port, information("9.1", "1.3")) == 0
    assert modality.ask(port, information("9.1", "1.3")) == 0
    assert modality.ask(port, information("9.1", "1.4")) == 0x0115


def test_a_ledger_that_cannot_be_used(gateway, modality, tmp_path, caplog):
    (tmp_path / database.FILE_NAME).write_bytes(b"no database" * 500)
    running = gateway()
    assert modality.ask(running.port, information("9.1", "1.3")) == 0x0110
    assert "is damaged" in running.gateway.status().commitments.problem
    assert caplog.text.count("the ledger cannot be used: ") in (1, 2), "once for each way of it"


def test_a_series_is_listed(gateway, client, modality, ledger):
    confirmed(ledger, client, *(f"1.3.{number}" for number in range(30)))
    asked = [f"1.3.{number}" for number in range(30)]
    running = gateway()
    assert modality.ask(running.port, information("9.1", *asked)) == 0
    ((kind, report, _),) = modality.wait_for_reports()
    assert (kind, len(committed(report))) == (1, 30)
