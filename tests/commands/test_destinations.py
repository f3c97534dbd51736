"""Which stores accounts are and were, and what becomes of what is open of one."""

from __future__ import annotations

import json
import time

import pytest

from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from tests.support.emulator import STORE_PATH
from tests.support.studies import SECOND, Study, run, run_json


@pytest.fixture
def former(site):
    """Instances wait for a store that an account was; its number."""
    Study(site).confirmed()
    engine = site.engine()
    stores = dict.fromkeys(("gone", "google"), StoreName("projects/p/former"))
    ledger = Ledger(engine, stores=stores)

    def wait(count: int, account: str = "gone", study: str = "1") -> int:
        now = time.time()
        ledger.arrivals.record(
            [
                NewTransfer(account, "elsewhere", f"r{now}-{n}", study, "2", f"3.{n}", 5, now)
                for n in range(count)
            ]
        )
        return ledger.destinations.find(account)

    yield wait
    engine.dispose()


def test_they_are_listed(site, former):
    number = former(2)
    listed = {one["Destination"]: one for one in run_json(site, "destinations")}
    there = listed[number]
    assert (there["Account"], there["Store"]) == ("gone", "projects/p/former")
    assert (there["Configured"], there["OpenInstances"]) == (False, 2)
    (own,) = (one for one in listed.values() if one["Account"] == "google")
    assert (own["Configured"], own["Store"]) == (True, STORE_PATH)
    assert own["Endpoint"] == site.emulator.url
    assert own["ConfirmedInstances"] > 0
    text = run(site, "destinations")
    assert f"{number}: account gone, projects/p/former, since " in text
    assert "not in the configuration, open: 2 instances, the oldest since" in text
    assert f"account google, {STORE_PATH} at {site.emulator.url}" in text
    gone = next(one for one in run_json(site, "status")["Accounts"] if one["Account"] == "gone")
    assert gone["Store"] == "projects/p/former"
    run(site, "destinations", "--close", str(number))


def test_what_is_open_is_handed_over_or_closed(site, former):
    number = former(2)
    listed = run_json(site, "destinations")
    (own,) = (one["Destination"] for one in listed if one["Account"] == "google")
    for wrong, said in (
        (("--close", "999"), "there is no destination 999"),
        (("--close", str(own)), "the configuration names"),
        (("--hand-over", str(own), "--to", "google"), "the configuration names"),
        (("--hand-over", str(number)), "there is no account gone: expected one of"),
        (("--hand-over", str(number), "--to", "x"), "there is no account x"),
        (("--close", "1", "--hand-over", "1"), "expected one of"),
        (("--to", "google"), "--to belongs to --hand-over"),
    ):
        assert said in run(site, "destinations", *wrong, code=2)
    said = run(site, "destinations", "--hand-over", str(number), "--to", "google")
    assert said == "handed over to google: 2 instances\n"
    former(1)
    assert run(site, "destinations", "--close", str(number)) == "withdrawn: 1 instance\n"
    listed = {one["Destination"]: one for one in run_json(site, "destinations")}
    assert listed[number]["OpenInstances"] == 0
    assert listed[own]["OpenInstances"] == 2


def test_a_receipt_says_which_store_has_what(site, former):
    gone = former(1, study="1.5")
    text = run(site, "receipt", "1.5", code=1)
    assert "store         projects/p/former; the configuration has this account no more" in text
    number = former(1, "google", "1.6")
    text = run(site, "receipt", "1.6", code=1)
    assert f"store         {STORE_PATH}\n" in text
    assert "before        projects/p/former, 0 of 1 instance confirmed there" in text
    assert "for projects/p/former:" in text
    status = run(site, "status")
    assert "google: 1 instance waits for projects/p/former: the account is another store" in status
    assert f"orthanc-gcp destinations CONFIG --hand-over {number}" in status
    for one in (gone, number):
        run(site, "destinations", "--close", str(one))
    assert "another store" not in run(site, "status")


def changed(site, folder, change):
    """The configuration of the site with another account, which its worker has not read."""
    whole = json.loads(site.orthanc.configuration_file.read_text())
    whole["StorageDirectory"] = str(site.orthanc.folder / "storage")
    change(whole["GoogleCloudPlatform"]["Accounts"]["google"])
    file = folder / "orthanc.json"
    file.write_text(json.dumps(whole))
    return file


@pytest.fixture
def waiting(site):
    """Instances that wait for the store that the running worker sends to; its number."""
    Study(site).confirmed()
    run(site, "pause", "google")
    try:
        time.sleep(1)  # the worker looks twice a second at what people have paused
        study = Study(site).wait_for(*["waiting"] * 4)
        named = (one for one in run_json(site, "destinations") if one["Configured"])
        yield study, str(next(one["Destination"] for one in named if one["Account"] == "google"))
    finally:
        run(site, "resume", "google")
    study.confirmed()


@pytest.mark.parametrize("action", ["--close", "--hand-over"])
def test_what_a_running_worker_sends_is_left_to_it(site, waiting, tmp_path, action):
    """The configuration was changed, and the worker has not been started again."""
    study, number = waiting
    file = changed(site, tmp_path, lambda account: account.update(DicomStore="other"))
    said = run(site, "destinations", action, number, config=file, code=2)
    assert said.startswith(f"a worker that runs sends what is open of {number}, by the config")
    assert study.states() == ["waiting"] * 4


@pytest.mark.parametrize("action", [["--close"], ["--to", SECOND, "--hand-over"]])
def test_an_account_with_a_mistake_may_be_what_it_was(site, waiting, tmp_path, action):
    study, number = waiting
    file = changed(site, tmp_path, lambda account: account.pop("Location"))
    said = run(site, "destinations", *action, number, config=file, code=2)
    assert f"whether the configuration names {number} is not known before this is corrected" in said
    assert "Accounts.google.Location" in said
    assert study.states() == ["waiting"] * 4
    text = run(site, "receipt", study.uid, config=file, code=1)
    assert "no more" not in text.splitlines()[1]
    listed = run(site, "destinations", config=file)
    assert "the configuration of the account has a mistake" in listed
    assert "not in the configuration" not in listed.splitlines()[0]
