"""What would wait for ever without a word: with a real Orthanc, in log and REST API."""

from __future__ import annotations

import json
import time

from orthanc_gcp.custody.intake.former_ledgers import FILE_NAME
from orthanc_gcp.orthanc import first_start
from tests.support.orthanc import wait_until
from tests.support.site import ACCOUNT, Site, make_study


def problems(site):
    """Account -> the kinds of its problems."""
    told = site.api("GET", "/gcp/transfers")[1]
    return {one["Account"]: [each["Kind"] for each in one["Problems"]] for one in told}


def test_the_ledger_is_deleted_and_an_account_renamed(tmp_path):
    with Site(tmp_path, listen=True) as site:
        site.wait_for_following()
        time.sleep(1.1 - time.time() % 1)  # Orthanc records whole seconds
        for content in make_study(instances=3):
            site.upload(content)
        site.wait_for(confirmed=3)
        wait_until(lambda: (site.orthanc.folder / "storage" / first_start.FILE_NAME).exists())
        site.wait_for_api()
        assert problems(site) == {ACCOUNT: []}
        assert "it has 0 instances" in site.log()

        site.stop_worker()
        storage = site.orthanc.folder / "storage"
        for file in storage.glob("orthanc-gcp.sqlite*"):
            file.unlink()
        site.start_worker()
        wait_until(lambda: "this ledger is a new one" in site.log(), 30, site.log)
        assert "of the 3 instances" in site.log()
        assert "it has 3 instances: those that it had before are not sent" in site.log()
        site.wait_for(confirmed=3)  # the last minutes before are looked at again
        site.wait_for_api()
        assert problems(site) == {ACCOUNT: ["ledger"]}
        assert len(json.loads((storage / FILE_NAME).read_text())) == 2

        site.emulator.switch(deniedPermissions=["healthcare.dicomStores.dicomWebWrite"])
        for content in make_study(instances=2):
            site.upload(content)
        wait_until(lambda: len(site.rows()) == 5, 30, site.log)
        site.stop_worker()
        options = json.loads(site.orthanc.configuration_file.read_text())
        section = options["GoogleCloudPlatform"]
        section["Accounts"] = {"renamed": section["Accounts"][ACCOUNT]}
        section["Send"] = [{"To": "renamed"}]
        site.orthanc.configuration_file.write_text(json.dumps(options))
        site.start_worker()
        words = f"2 instances wait: the configuration has no account {ACCOUNT}; put the account"
        wait_until(lambda: words in site.log(), 30, site.log)
        site.wait_for_api()
        assert problems(site) == {ACCOUNT: ["account", "ledger"], "renamed": ["ledger"]}
        assert site.log().count("this ledger is a new one") == 2, "once for each start"


def test_the_ledger_is_deleted_while_the_worker_runs(tmp_path):
    with Site(tmp_path) as site:
        site.wait_for_following()
        site.upload(make_study(instances=1)[0])
        site.wait_for(confirmed=1)
        for file in (site.orthanc.folder / "storage").glob("orthanc-gcp.sqlite*"):
            file.unlink()
        assert site.workers["worker"].wait(20) == 1
        assert "was deleted, or another file put in its place" in site.log()
        site.workers.pop("worker")
        site.start_worker()  # as Orthanc does
        wait_until(lambda: "this ledger is a new one" in site.log(), 30, site.log)


def test_the_write_ahead_log_is_deleted_while_the_worker_runs(tmp_path):
    """SQLite writes on into it, and nobody finds that, least of all after the worker is killed."""
    with Site(tmp_path) as site:
        site.wait_for_following()
        site.upload(make_study(instances=1)[0])
        site.wait_for(confirmed=1)
        log = site.orthanc.folder / "storage" / "orthanc-gcp.sqlite-wal"
        time.sleep(1.5)  # the worker looks once a second
        log.unlink()
        assert site.workers["worker"].wait(20) == 1
        assert f"{log} was deleted" in site.log()
        assert site.states() == {"confirmed": 1}, "what was in it was written into the ledger"
        site.workers.pop("worker")
        site.start_worker()  # as Orthanc does
        site.upload(make_study(instances=1)[0])
        site.wait_for(confirmed=2)
