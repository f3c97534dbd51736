"""What a process of its own says of a ledger that nobody works on."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest

from orthanc_gcp.custody.intake.identity import source_of
from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Guard
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.ledger.workers import note_served, worker_registry
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.plugin.unattended import command
from orthanc_gcp.worker import unattended
from orthanc_gcp.worker.handshake import WorkerInput
from tests.support.keys import STORE
from tests.support.ledgers import A, arrival
from tests.support.orthanc import Orthanc, free_port
from tests.support.simulation import FakeClock
from tests.support.site import make_instance


class Given:
    """A line on standard input."""

    def __init__(self, line: bytes) -> None:
        self.buffer = self
        self.readline = lambda: line


@pytest.fixture
def given(tmp_path) -> WorkerInput:
    whole = {"StorageDirectory": str(tmp_path), "GoogleCloudPlatform": {}}
    return WorkerInput(whole, tmp_path, "", "", "", "", 0.0, "")


@pytest.fixture
def answer(monkeypatch, capsys, given):
    """The exit code and what was printed, for a configuration of this section."""

    def ask(orthanc="", **section):
        whole = {**given.configuration, "GoogleCloudPlatform": section}
        line = replace(given, configuration=whole, orthanc=orthanc).line()
        monkeypatch.setattr(sys, "stdin", Given(line))
        code = unattended.main()
        printed = capsys.readouterr()
        return code, (printed.err if code else json.loads(printed.out))

    return ask


@pytest.fixture
def waiting(tmp_path):
    """A ledger in which two instances wait."""
    engine = database.connect(database.url_of("", tmp_path))
    prepare(engine)
    ledger = Ledger(engine)
    ledger.arrivals.record([arrival("1"), arrival("2")])
    yield ledger
    engine.dispose()


def test_there_is_no_ledger(answer):
    assert answer() == (0, [])


def test_what_waits(answer, waiting):
    code, found = answer()
    assert code == 0
    assert {(one["Kind"], one["Account"], one["Instances"]) for one in found} == {
        ("account", A, 2),
        ("worker", A, 2),
    }


def test_a_worker_that_was_started_by_hand_sends_it(answer, waiting):
    registry = worker_registry(waiting.engine, "w", FakeClock())
    registry.join()
    assert answer() == (0, [])
    registry.leave()


def test_a_database_that_is_away(answer):
    code, said = answer(Database=f"postgresql://me:hush@127.0.0.1:{free_port()}/none")
    assert code == 1
    assert "OperationalError" in said
    assert "hush" not in said


@contextmanager
def protecting(folder, ledger):
    """An Orthanc in which a patient is protected for what waits, and one by somebody."""
    with Orthanc(folder / "orthanc", {}, plugins=()) as orthanc:
        source = OrthancSource(OrthancRest(orthanc.url), folder)
        orthanc.json("POST", "/instances", make_instance())
        orthanc.index = source_of(ledger, source)  # by what is in it
        found = []
        for name, guard in (("A", Guard.OWN), ("B", Guard.FOREIGN)):
            content = make_instance(patient=name)
            patient = orthanc.json("POST", "/instances", content)["ParentPatient"]
            source.recycling.protect(patient, protected=True)
            Patients(ledger).add(orthanc.index, {patient: {"study"}}, {})
            Patients(ledger).set_guards(orthanc.index, {patient: guard})
            found.append(patient)
        orthanc.guarded = lambda: [source.recycling.is_protected(one) for one in found]
        yield orthanc


@pytest.fixture
def orthanc(tmp_path, waiting):
    with protecting(tmp_path, waiting) as orthanc:
        yield orthanc


def test_without_a_rule_nothing_is_protected_any_more(answer, waiting, orthanc):
    assert answer(orthanc=orthanc.url)[0] == 0
    assert orthanc.guarded() == [False, True]
    assert not Patients(waiting).known()


@pytest.mark.parametrize(
    "send", [[{"To": A, "Modality": "CT"}], {"To": A}, [{"To": A, "Modalities": [3]}]]
)
def test_a_mistake_in_the_only_rule_removes_none(answer, waiting, orthanc, send):
    assert answer(orthanc=orthanc.url, Accounts={A: STORE}, Send=send)[0] == 0
    assert orthanc.guarded() == [True, True]
    assert Patients(waiting).known()
    assert answer(orthanc=orthanc.url, Send=send, ProtectUnsent=False)[0] == 0
    assert orthanc.guarded() == [False, True]


def test_a_worker_that_was_started_by_hand_protects_it(answer, waiting, orthanc):
    registry = worker_registry(waiting.engine, "w", FakeClock())
    registry.join()
    assert answer(orthanc=orthanc.url)[0] == 0
    registry.leave()
    assert orthanc.guarded() == [True, True]


@pytest.mark.parametrize("is_its_own", [True, False])
def test_a_worker_that_has_let_its_index_go_protects_it(
    answer, postgresql_ledger, tmp_path, is_its_own
):
    """While its Orthanc was away: it follows it again when it is back."""
    engine = postgresql_ledger.engine
    with protecting(tmp_path, postgresql_ledger) as orthanc:
        registry = worker_registry(engine, "w", FakeClock())
        registry.join()
        registry.refresh("")
        note_served(engine, "w", orthanc.index if is_its_own else "another", [])
        address = engine.url.render_as_string(hide_password=False)
        assert answer(orthanc=orthanc.url, Database=address)[0] == 0
        registry.leave()
        assert orthanc.guarded() == [is_its_own, True]


def test_an_orthanc_that_stays_away_hides_nothing(answer, waiting, monkeypatch):
    monkeypatch.setattr(unattended, "_TRIES", (0.0, 0.0))
    Patients(waiting).add("o", {"p": {"study"}}, {})
    code, found = answer(orthanc=f"http://127.0.0.1:{free_port()}")
    assert (code, len(found)) == (0, 2)
    assert Patients(waiting).known()


def test_as_the_connector_runs_it(waiting, given):
    done = subprocess.run(
        command(sys.executable), input=given.line(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [one["Kind"] for one in json.loads(done.stdout)] == ["account", "worker"]
