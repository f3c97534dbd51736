"""An Orthanc without a rule says what waits all the same; asked by a process of its own."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.backoff import Backoff
from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.ledger import database
from orthanc_gcp.plugin import unattended
from orthanc_gcp.plugin.unattended import Unattended, may_have_a_ledger
from orthanc_gcp.worker.handshake import WorkerInput
from tests.support.orthanc import wait_until

GIVEN = WorkerInput({}, Path("/etc/orthanc"), "", "", "", "", 0.0, "")
ANSWER = """
import json, sys
assert json.loads(sys.stdin.readline())["Folder"] == "/etc/orthanc"
print(json.dumps([
    {"Account": "a", "Kind": "worker", "Instances": 3, "Message": "3 wait", "Remedy": "do so"},
    {"Account": None, "Kind": "ledger", "Instances": 9, "Message": "a new one", "Remedy": "or so"},
]))
"""


@pytest.fixture
def asked(monkeypatch):
    """What says what a program has answered; and what it shows as metrics."""
    monkeypatch.setattr(unattended, "BACKOFF", Backoff(0.05, 0.05, jitter=0))
    running, shown = [], {}

    def show(samples):
        for one in samples:
            shown[tuple(one.labels.values())] = one.value

    def ask(*program):
        running.append(Unattended([sys.executable, *program], GIVEN, show))
        running[-1].start()
        return running[-1], shown

    yield ask
    for one in running:
        one.stop()
        one._thread.join(30)


def words(one):
    with pytest.raises(WorkerUnavailableError) as refused:
        one.call("GET", ("transfers",))
    return str(refused.value)


def test_what_waits_is_said_in_log_metrics_and_answers(asked, caplog):
    one, shown = asked("-c", ANSWER)
    wait_until(lambda: "a new one" in words(one), 30)
    assert words(one) == f"{unattended.NO_WORKER}; account a: 3 wait; a new one"
    assert caplog.messages == ["account a: 3 wait; do so", "a new one; or so"]
    assert shown == {("a", "worker"): 3, ("", "ledger"): 9}


def test_nothing_waits(asked, caplog):
    one, shown = asked("-c", "print('[]')")
    one._thread.join(30)
    assert words(one) == unattended.NO_WORKER
    assert (caplog.messages, shown) == ([], {})


def test_one_that_cannot_answer_is_asked_again_and_named_once(asked, tmp_path, caplog):
    tries = tmp_path / "tries"
    program = f"""
import sys
with open({str(tries)!r}, "a+") as file:
    file.write("x")
    file.seek(0)
    count = len(file.read())
if count < 4:
    sys.exit("trace\\nthe database is away")
print('[{{"Account": "a", "Kind": "worker", "Instances": 1, "Message": "m", "Remedy": "r"}}]')
"""
    one, _ = asked("-c", program)
    wait_until(lambda: words(one).endswith("a: m"), 30)
    assert caplog.messages == [
        "whether anything waits to be sent is not known: the database is away",
        "account a: m; r",
    ]


def test_it_is_not_asked_for_ever(asked, monkeypatch, caplog):
    monkeypatch.setattr(unattended, "MOST_TRIES", 2)
    one, _ = asked("-c", "print('no JSON')")
    one._thread.join(30)
    assert not one._thread.is_alive()
    assert len(caplog.messages) == 1


def test_a_process_that_hangs_is_ended(asked, monkeypatch, caplog):
    monkeypatch.setattr(unattended, "_ANSWER_WITHIN", 0.2)
    monkeypatch.setattr(unattended, "MOST_TRIES", 1)
    began = time.monotonic()
    one, _ = asked("-c", "import time; time.sleep(60)")
    one._thread.join(30)
    assert time.monotonic() - began < 30
    assert "timed out" in caplog.text


def test_where_rules_of_before_may_have_left_something(tmp_path):
    def settings(**section):
        return configuration.read({"GoogleCloudPlatform": section}, tmp_path)

    assert unattended.LEDGER_FILE == database.FILE_NAME
    assert not may_have_a_ledger(settings())
    assert may_have_a_ledger(settings(Database="postgresql://u@h/d"))
    file = settings().storage_folder / database.FILE_NAME
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert may_have_a_ledger(settings())
