"""Which Orthancs were followed, and what becomes of what is open of one."""

from __future__ import annotations

import time

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import transfers
from tests.support.studies import Study, run, run_json


def test_what_is_open_of_an_orthanc_that_is_gone(site):
    study = Study(site).confirmed()
    engine = site.engine()
    ledger = Ledger(engine)
    own = next(one.source for one in ledger.indexes.all())
    rows = [
        NewTransfer(
            "other",
            "gone",
            row.orthanc_id,
            row.study_instance_uid,
            row.series_instance_uid,
            row.sop_instance_uid,
            row.size_bytes,
            time.time(),
        )
        for row in study.rows()
    ]
    ledger.arrivals.record(rows)
    try:
        listed = {one["Index"]: one for one in run_json(site, "indexes")}
        assert listed["gone"]["OpenInstances"] == 4
        assert "no Orthanc" in listed["gone"]["Problem"]
        assert listed[own]["Problem"] is None
        assert "gone: Orthanc gone, seen never, open: 4 instances" in run(site, "indexes")
        asked = ("--orthanc", site.orthanc.url)
        assert "there is no index x" in run(site, "indexes", "--close", "x", code=2)
        assert "stop its worker first" in run(site, "indexes", "--close", own, code=2)
        assert "expected one of" in run(site, "indexes", "--close", "gone", "--separate", code=2)
        assert "not a copy" in run(site, "indexes", "--separate", *asked, code=2)
        said = run(site, "indexes", "--hand-over", "gone", *asked)
        assert said == f"handed over to {own}: 4 instances, left: 0\n"
        ledger.arrivals.record([NewTransfer("other", "gone", "x", "1", "2", "3", 5, time.time())])
        assert run(site, "indexes", "--close", "gone") == "withdrawn: 1 instance\n"
    finally:
        engine.dispose()


def test_a_ledger_that_has_come_into_the_place_of_another(site):
    """The command that ends what is said of it."""
    engine = site.engine()
    ledger = Ledger(engine)
    own = next(one.source for one in ledger.indexes.all())
    try:
        ledger.key_values.set(
            f"former_ledger:{own}",
            {"noticed_at": time.time(), "instances": 1234, "accepted": False},
        )
        told = run(site, "status")
        assert told.count("this ledger is a new one") == 1, "it is of all accounts"
        assert "of the 1,234 instances" in told
        assert "that had another ledger" in run(site, "indexes", "--accept-ledger", "x", code=2)
        run(site, "indexes", "--accept-ledger", own)
        assert "this ledger is a new one" not in run(site, "status")
    finally:
        engine.dispose()


def test_patients_that_stay_protected_when_the_ledger_was_lost(site):
    resource = Study(site).confirmed().resources[0]
    patient = site.orthanc.json("GET", f"/instances/{resource}/patient")["ID"]
    asked = ("--orthanc", site.orthanc.url)
    assert run(site, "indexes", "--protected", *asked) == "none\n"
    site.orthanc.request("PUT", f"/patients/{patient}/protected", b"1")
    assert run(site, "indexes", "--protected", *asked) == f"{patient}\n"
    assert run_json(site, "indexes", "--protected", *asked)["Protected"] == [patient]
    assert "expected one of" in run(site, "indexes", "--protected", "--separate", code=2)
    said = run(site, "indexes", "--unprotect", "all", *asked)
    assert said == "not protected any more: 1 patient\n"
    assert site.orthanc.request("GET", f"/patients/{patient}/protected").data == b"0"
    assert run_json(site, "indexes", "--unprotect", patient, *asked)["Unprotected"] == 0


def test_what_waits_for_an_account_that_is_gone_is_in_the_status(site):
    engine = site.engine()
    ledger = Ledger(engine)
    own = next(one.source for one in ledger.indexes.all())
    try:
        ledger.arrivals.record([NewTransfer("former", own, "x", "1", "2", "3", 5, time.time())])
        told = run(site, "status")
        assert "former: 1 instance waits: the configuration has no account former; put" in told
        (one,) = [one for one in run_json(site, "status")["Accounts"] if one["Account"] == "former"]
        assert one["Problems"][0]["Kind"] == "account"
    finally:
        with ledger.writing() as connection:
            connection.execute(transfers.delete().where(transfers.c.account == "former"))
        engine.dispose()
