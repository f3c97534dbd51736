"""An audit finds each difference between the ledger and the stores."""

from __future__ import annotations

import hashlib
import json
import re
import time
from datetime import UTC, datetime, timedelta

from orthanc_gcp import configuration
from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.verification.audit import Audit, AuditedStore
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.transport.authorization import Authorization
from tests.support.emulator import STORE_PATH
from tests.support.site import make_instance
from tests.support.studies import (
    SECOND,
    Study,
    delete,
    other_bytes,
    read,
    run,
    run_json,
    store,
)


def test_audit_finds_what_is_missing_different_and_extra(site):
    study = Study(site, instances=6).confirmed()
    said = run(site, "audit", "--study", study.uid, "--bytes")
    assert "compared 1 study, 6 instances, " in said
    assert "no difference" in said

    missing, replaced, *_ = study.files
    delete(site, study, missing)
    delete(site, study, replaced)
    different = other_bytes(study.files[replaced])
    store(site, different)
    extra = make_instance(study.uid)
    store(site, extra)
    extra_uid = next(read([extra]))[0].SOPInstanceUID

    told = run_json(site, "audit", "--study", study.uid, code=1)
    (found,) = told["Studies"]
    assert found["Missing"] == [missing]
    assert found["Extra"] == [extra_uid]
    assert found["Different"] == []

    told = run_json(site, "audit", "--study", study.uid, "--bytes", code=1)
    (found,) = told["Studies"]
    assert found["Different"] == [
        {
            "Instance": replaced,
            "Sha256": hashlib.sha256(study.files[replaced]).hexdigest(),
            "StoreSha256": hashlib.sha256(different).hexdigest(),
        }
    ]
    assert told["Differing"] == 1
    assert told["SentAgain"] == 0
    assert set(study.states()) == {"confirmed"}, "without --send-again nothing is written"
    text = run(site, "audit", "--study", study.uid, "--bytes", code=1)
    assert re.search(rf"missing +{missing}\n", text)
    assert re.search(rf"different +{replaced} ", text)
    assert re.search(rf"extra +{extra_uid} ", text)


def test_audit_has_missing_instances_sent_again(site):
    study = Study(site).confirmed()
    missing = next(iter(study.files))
    delete(site, study, missing)
    told = run_json(site, "audit", "--study", study.uid, "--send-again", code=1)
    assert told["SentAgain"] == 1
    study.confirmed()
    assert site.stored_bytes(study.uid, study.series, missing) == study.files[missing]
    run(site, "audit", "--study", study.uid, "--bytes")
    (account,) = run_json(site, "receipt", study.uid)["Accounts"]
    assert [(one["Kind"], one["Instance"]) for one in account["Events"]] == [("missing", missing)]


def test_audit_a_period(site):
    study = Study(site).confirmed()
    today = datetime.now(UTC)
    before, after = (
        (today + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S") for days in (-1, 1)
    )
    nothing = run_json(site, "audit", "--since", after)
    assert nothing["Compared"] == {"Studies": 0, "Instances": 0, "Bytes": 0}
    assert run_json(site, "audit", "--until", before) == nothing
    delete(site, study, next(iter(study.files)))
    told = run_json(site, "audit", "--since", before, "--until", after, code=1)
    assert study.uid in [one["Study"] for one in told["Studies"]]
    assert told["Compared"]["Studies"] == len(
        {(row.study_instance_uid, row.account) for row in site.rows()}
    )
    run(site, "audit", "--study", study.uid, "--send-again", code=1)
    study.confirmed()


def test_audit_asks_again_when_the_store_is_busy(site):
    study = Study(site).confirmed()
    site.emulator.switch(
        faults=[{"path": "/instances", "method": "GET", "status": 503, "count": 1}]
    )
    try:
        run(site, "audit", "--study", study.uid, "--bytes")
        assert site.emulator.switches()["faults"][0]["matched"] > 1
    finally:
        site.emulator.switch(faults=[])


def test_audit_says_when_a_store_cannot_be_asked(site):
    study = Study(site).confirmed()
    site.emulator.switch(deniedPermissions=["healthcare.dicomStores.dicomWebRead"])
    try:
        told = run_json(site, "audit", "--study", study.uid, code=2)
        assert "403" in told["Errors"]["google"]
        said = run(site, "audit", "--study", study.uid, "--account", "google", code=2)
        assert "account google was not compared to the end" in said
    finally:
        site.emulator.switch(deniedPermissions=[])


def test_audit_says_which_account_is_not_configured(site, tmp_path):
    study = Study(site, modality="CT")
    run(site, "send", *study.resources, "--to", SECOND, "--orthanc", site.orthanc.url)
    study.confirmed()
    whole = json.loads(site.orthanc.configuration_file.read_text())
    del whole["GoogleCloudPlatform"]["Accounts"][SECOND]
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(whole))
    told = run_json(site, "audit", "--study", study.uid, code=2, config=file)
    assert told["Errors"] == {SECOND: "the configuration has no such account"}
    text = run(site, "receipt", study.uid, config=file)
    assert "the configuration has this account no more" in text


def test_what_is_sent_during_a_comparison_is_no_difference(site):
    study = Study(site).confirmed()
    gone, *_ = study.files
    late = make_instance(study.uid, study.series)
    asked = 0

    def meanwhile() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            delete(site, study, gone)
            study.resources.append(site.upload(late))
            study.wait_for(*["confirmed"] * 5)

    store = DicomStore(f"{site.emulator.url}/v1/{STORE_PATH}/dicomWeb", _token(site))
    engine = site.engine()
    tokens = TokenSource(configuration.read({}), SystemClock())  # of no account
    stores = {"google": AuditedStore(store, meanwhile)}
    found = Audit(Ledger(engine), stores, tokens, time.sleep).compare("google", study.uid)
    assert [row.sop_instance_uid for row in found.missing] == [gone]
    assert found.extra == ()
    store.close()
    engine.dispose()
    run(site, "audit", "--study", study.uid, "--send-again", code=1)
    study.wait_for(*["confirmed"] * 5)


def _token(site):
    token = site.emulator.bearer()["Authorization"].removeprefix("Bearer ")
    return lambda: Authorization(token)
