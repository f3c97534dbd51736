"""Every way in which the store can fail on demand: all is confirmed in the end, nothing falsely."""

from __future__ import annotations

import time

import pytest

from tests.support.mishaps import in_the_store, sha256
from tests.support.orthanc import wait_until
from tests.support.site import ACCOUNT, Site, make_study

CALM = {
    "faults": [],
    "searchLag": 0,
    "latency": 0,
    "quota": None,
    "deniedPermissions": [],
    "disabledApi": False,
    "tokenEndpoint": None,
    "emptyQido": 204,
    "missingResource": 403,
    "duplicates": "always-conflict",
    "bandwidth": None,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site"), listen=True) as site:
        site.wait_for_following()
        yield site


@pytest.fixture
def study(site):
    yield Study(site)
    site.emulator.switch(**CALM)


class Study:
    """A study on its way through a store that fails."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.files = make_study(instances=9)
        self.resources: dict[str, bytes] = {}

    def arrive(self) -> None:
        for file in self.files:
            self.resources[self.site.upload(file)] = file

    def rows(self):
        return [row for row in self.site.rows() if row.orthanc_id in self.resources]

    def states(self) -> set[str]:
        """The states of its rows; what is called confirmed is looked for in the store."""
        rows = self.rows()
        stored = in_the_store(self.site.emulator.folder)
        false = [
            row for row in rows if row.state == "confirmed" and row.sop_instance_uid not in stored
        ]
        assert not false, "confirmed, and not in the store"
        return {row.state for row in rows}

    def reaches(self, condition, wait: float = 30) -> None:
        wait_until(
            lambda: self.states() and condition(),
            wait,
            lambda: (
                f"{[(row.state, row.reason) for row in self.rows()]}\n{self.site.log()[-4000:]}"
            ),
        )

    def _all_confirmed(self) -> bool:
        rows = self.rows()
        return len(rows) == len(self.files) and {row.state for row in rows} == {"confirmed"}

    def is_confirmed(self, wait: float = 60) -> None:
        self.reaches(self._all_confirmed, wait)
        self.site.emulator.switch(**CALM)
        for row in self.rows():
            stored = self.site.stored_bytes(
                row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
            )
            assert stored == self.resources[row.orthanc_id]
            assert row.sha256 == sha256(stored)


def used(site: Site) -> list[int]:
    return [rule["used"] for rule in site.emulator.switches()["faults"]]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 500, "html": True},
        {"status": 502, "html": True, "readBody": False},
        {"status": 503},
        {"status": 503, "retryAfter": 1},
        {"status": 504, "body": ""},
        {"status": 408},
        {"status": 429, "count": 3},
        {"status": 429, "retryAfter": 1, "count": 3},
        {"status": 429, "retryAfter": 0, "count": 3},
        {"status": 401},
        {"status": 401, "readBody": False},
        {"status": 403},
        {"status": 404, "html": True},
        {"status": 418},
        {"cut": "reset"},
        {"cut": "reset", "readBody": False},
        {"cut": "resetRequest"},
        {"cut": "resetRequest", "afterBytes": 1},
        {"cut": "truncate"},
        {"cut": "truncate", "afterBytes": 0},
        {"cut": "resetAnswer"},
        {"refuse": "all"},
        {"refuse": 0.5},
        {"storeThenFail": True, "status": 500},
        {"storeThenFail": True, "cut": "reset"},
        {"tokenDies": True},
        {"delay": 2},
    ],
    ids=str,
)
def test_storing_fails(site, study, fault):
    site.emulator.switch(faults=[{"method": "POST", "count": 1, **fault}])
    study.arrive()
    study.reaches(lambda: used(site) == [fault.get("count", 1)])
    study.is_confirmed()


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "count": 2},
        {"status": 413, "count": 2},
        {"status": 413, "count": 1, "readBody": False, "html": True},
    ],
    ids=str,
)
def test_a_batch_is_refused(site, study, fault):
    """It goes again by halves; what is sent alone and refused would be in quarantine."""
    assert site.api("POST", f"/gcp/accounts/{ACCOUNT}/pause")[0] == 200
    time.sleep(1)  # until the worker has seen it
    study.arrive()
    study.reaches(lambda: len(study.rows()) == len(study.files))
    assert study.states() == {"waiting"}
    site.emulator.switch(faults=[{"method": "POST", **fault}])
    assert site.api("POST", f"/gcp/accounts/{ACCOUNT}/resume")[0] == 200
    study.reaches(lambda: used(site) == [fault["count"]])
    study.is_confirmed()


@pytest.mark.parametrize(
    "faults",
    [
        [{"status": 500}, {"status": 401}, {"cut": "reset"}],
        [{"status": 404, "html": True}, {"cut": "truncate"}, {"delay": 1}],
        [{"status": 503, "retryAfter": 1}, {"cut": "resetAnswer"}, {"status": 429}],
    ],
    ids=str,
)
def test_reading_back_fails(site, study, faults):
    site.emulator.switch(faults=[{"method": "GET", "count": 1, **fault} for fault in faults])
    studies = [study, Study(site), Study(site)]
    for one in studies:
        one.arrive()
    study.reaches(lambda: used(site) == [1, 1, 1])
    for one in studies:
        one.is_confirmed()


def test_a_token_that_dies_as_it_is_read_back_is_replaced(site, study):
    site.emulator.switch(faults=[{"method": "GET", "count": 1, "tokenDies": True}])
    study.arrive()
    study.reaches(lambda: used(site) == [1])
    study.is_confirmed()


def test_acknowledged_and_not_stored(site, study):
    """The store says 200, and has less: a search tells, and they go again."""
    site.emulator.switch(
        faults=[
            {"method": "POST", "count": 1, "lose": "all"},
            {"method": "POST", "count": 1, "lose": 0.5},
        ]
    )
    other = Study(site)
    study.arrive()
    study.reaches(lambda: "acknowledged" in study.states())
    other.arrive()
    study.reaches(lambda: sum(used(site)) == 2)
    other.is_confirmed()
    study.is_confirmed()
    log = site.log()
    assert "the store acknowledged" in log


def test_searches_lag(site, study):
    site.emulator.switch(searchLag=4, emptyQido=200)
    study.arrive()
    study.reaches(
        lambda: [row.state for row in study.rows()] == ["acknowledged"] * len(study.files)
    )
    assert in_the_store(site.emulator.folder) >= {row.sop_instance_uid for row in study.rows()}
    study.is_confirmed()
    assert all(row.attempts == 1 for row in study.rows())


def test_everything_is_slow(site, study):
    site.emulator.switch(latency=0.7, bandwidth=30_000)
    study.arrive()
    study.is_confirmed()


def test_the_quota_is_used_up(site, study):
    site.emulator.switch(quota={"requestsPerMinute": 1, "retryAfter": False})
    site.call("GET", "/dicomWeb/studies?limit=1")
    study.arrive()
    study.reaches(lambda: any(row.reason == "throttled" for row in study.rows()))
    assert not study.states() & {"quarantined", "confirmed"}
    site.emulator.switch(quota=None)
    study.is_confirmed()


def problem(site: Site) -> str | None:
    return site.api("GET", f"/gcp/accounts/{ACCOUNT}/transfers")[1]["Problem"]


@pytest.mark.parametrize(
    "switch",
    [
        {"deniedPermissions": ["healthcare.dicomStores.dicomWebWrite"]},
        {"deniedPermissions": ["healthcare.dicomStores.dicomWebRead"]},
        {"disabledApi": True},
    ],
    ids=str,
)
def test_a_permission_is_missing(site, study, switch):
    """What is wrong with the account is nothing against the instances: none is in quarantine."""
    site.emulator.switch(**switch)
    study.arrive()
    wait_until(lambda: "answered 403" in str(problem(site)), 20)
    time.sleep(3)
    assert study.states() <= {"waiting", "delayed", "sending", "acknowledged"}
    site.emulator.switch(**CALM)
    study.is_confirmed()
    assert all(row.max_batch_instances is None for row in study.rows())


@pytest.mark.parametrize("trouble", [{"status": 503}, "reset", "truncate"], ids=str)
def test_no_new_token_for_a_dead_one(site, study, trouble):
    site.emulator.switch(
        tokenEndpoint=trouble, faults=[{"method": "POST", "count": 1, "tokenDies": True}]
    )
    study.arrive()
    study.reaches(lambda: any(row.reason == "unauthorized" for row in study.rows()))
    time.sleep(1)
    assert study.states() <= {"waiting", "delayed", "sending"}
    site.emulator.switch(tokenEndpoint=None)
    study.is_confirmed()


@pytest.mark.parametrize("duplicates", ["always-conflict", "identical-ok"])
def test_identical_instances_are_sent_again(site, study, duplicates):
    """A request whose answer is lost is sent again; then the store has them already."""
    site.emulator.switch(
        duplicates=duplicates,
        faults=[{"method": "POST", "count": 1, "storeThenFail": True, "cut": "reset"}],
    )
    study.arrive()
    study.is_confirmed()


def test_the_store_is_gone_and_comes_back(site, study):
    site.emulator.kill()
    study.arrive()
    study.reaches(lambda: any(row.attempts >= 3 for row in study.rows()))
    assert study.states() <= {"waiting", "delayed", "sending"}
    site.emulator.start()
    study.is_confirmed()
