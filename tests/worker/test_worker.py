"""A worker from its start to its end, with an Orthanc that is away."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sql

from orthanc_gcp import configuration
from orthanc_gcp.custody.signatures.signature import verify
from orthanc_gcp.custody.signatures.signing_key import NAME, issued
from orthanc_gcp.errors import LedgerError
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.ledger.workers import any_alive
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.worker.assembly import assemble
from tests.support.ledgers import arrival, claim, states
from tests.support.orthanc import free_port, wait_until


class Run:
    """A worker on a thread of its own."""

    def __init__(self, folder, url="", name="w", **accounts) -> None:
        section = {"Accounts": accounts, "Database": url or f"sqlite:///{folder}/ledger.sqlite"}
        settings = configuration.read({"GoogleCloudPlatform": section}, folder)
        self.worker = assemble(settings, OrthancRest(f"http://127.0.0.1:{free_port()}"), name)
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.worker.run()
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def engine(tmp_path):
    made = database.connect(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield made
    made.dispose()


def test_it_makes_its_ledger_and_says_that_it_has_started(tmp_path, engine, caplog):
    with Run(tmp_path):
        wait_until(lambda: any_alive(engine), 20)
        wait_until(lambda: "cannot follow Orthanc" in caplog.text, 20)
        assert sql.inspect(engine).has_table(transfers.name)
    assert not any_alive(engine)
    assert caplog.text.count("the worker w has started") == 1
    assert "sends only what it is asked to" in caplog.text
    private = Ledger(engine).key_values.get(NAME, dict)["PrivateKey"]
    assert verify(issued(Ledger(engine), {})).fits
    assert private not in caplog.text


def test_a_damaged_key_of_receipts_is_said_and_stops_nothing(tmp_path, engine, caplog):
    prepare(engine)
    Ledger(engine).key_values.set(NAME, {"PrivateKey": "needle"})
    with Run(tmp_path):
        wait_until(lambda: "the worker w has started" in caplog.text, 20)
    assert caplog.text.count("receipts are not signed: the ledger's key is damaged") == 1
    assert "needle" not in caplog.text


def test_another_worker_on_its_file_is_an_error(tmp_path, engine):
    with Run(tmp_path):
        wait_until(lambda: any_alive(engine), 20)
        with Run(tmp_path, name="other") as second:
            second.thread.join(20)
            assert isinstance(second.error, LedgerError)


def test_a_ledger_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"no database, and long enough for one" * 100)
    with Run(tmp_path) as run:
        run.thread.join(20)
        assert isinstance(run.error, LedgerError)


def test_a_database_that_is_away_is_waited_for(tmp_path, caplog):
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with Run(tmp_path, away) as run:
        wait_until(lambda: "the ledger cannot be reached" in caplog.text, 20)
        assert run.thread.is_alive()
    assert run.error is None


def test_what_was_claimed_by_whoever_had_the_file_before_waits_again(tmp_path, engine, caplog):
    prepare(engine)
    ledger = Ledger(engine)
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    assert states(ledger) == {"1": State.SENDING}
    with Run(tmp_path, name="another"):
        wait_until(lambda: states(ledger) == {"1": State.WAITING}, 20)
    assert "worker w has died" in caplog.text
