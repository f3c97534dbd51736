"""A tiny instance through a store, and what is said of one that stays there."""

from __future__ import annotations

import re

from tests.support.checking import check
from tests.support.emulator import STORE_PATH


def test_the_round_trip_leaves_nothing(case):
    code, report = check(case, "--write")
    assert code == 0, report
    last = report["Accounts"]["my-google"][-1]
    assert last["Result"] == "passed"
    assert "sent, found, fetched (the same bytes) and deleted" in last["Cause"]
    _, report = check(case)
    search = next(e for e in report["Accounts"]["my-google"] if e["Check"] == "search")
    assert search["Cause"] == "the store is empty"


def test_what_the_round_trip_leaves_is_named(case):
    rule = {"method": "DELETE", "status": 503}
    case.google.switch(faults=[rule])
    code, report = check(case, "--write")
    last = report["Accounts"]["my-google"][-1]
    assert (code, last["Check"], last["Result"]) == (1, "round trip", "failed")
    found = re.search(r"the tiny instance of study (2\.25\.\d+) may still be there", last["Cause"])
    assert found
    case.google.switch(faults=[])
    case.google.call("DELETE", f"{STORE_PATH}/dicomWeb/studies/{found[1]}")


def test_an_upload_that_is_not_stored_is_no_round_trip(case, lying_store):
    code, report = check(case, "--write")
    last = report["Accounts"]["my-google"][-1]
    assert (code, last["Check"], last["Result"]) == (1, "round trip", "failed")
    assert "a search does not find it" in last["Cause"]
    assert "see what changes requests or answers on the way" in last["Remedy"]
