"""The commands of custody, on a real site: what they print is what is so."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pydicom
import pytest
from click.testing import CliRunner

from orthanc_gcp import configuration
from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.cli import app
from orthanc_gcp.clock import SystemClock, age
from orthanc_gcp.commands.formatting import count, moment
from orthanc_gcp.custody.reporting.operations import resume
from orthanc_gcp.custody.verification.audit import Audit, AuditedStore
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.transport.authorization import Authorization
from tests.support.emulator import STORE_PATH
from tests.support.keys import STORE
from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site, make_instance, make_study

SECOND = "second"  # an account that no rule names
NOTHING = {"Instances": 0, "Bytes": 0}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    key = {"ServiceAccountFile": str(folder / "emulator/credentials/service-account.json")}
    accounts = {
        "google": {**STORE, **key},
        SECOND: {**STORE, **key, "DicomStore": "second"},
    }
    stores = (STORE_PATH, STORE_PATH.removesuffix("dicom") + "second")
    arguments = ("--admin", *(word for store in stores for word in ("--store", store)))
    rules = [
        {"To": "google", "Modalities": ["OT"]},
        {"To": SECOND, "Modalities": ["MR"], "Tags": {"PatientName": "Secret*"}},
    ]
    with Site(
        folder, rules=rules, section={"Accounts": accounts}, emulator_arguments=arguments
    ) as site:
        site.wait_for_following()
        yield site


class Study:
    """A study that was uploaded to Orthanc."""

    def __init__(self, site: Site, contents: list[bytes] = (), *, series=1, **more) -> None:
        contents = contents or make_study(series, **{"instances": 4, **more})
        self.files = {dataset.SOPInstanceUID: content for dataset, content in read(contents)}
        first = next(read(contents))[0]
        self.uid, self.series = str(first.StudyInstanceUID), str(first.SeriesInstanceUID)
        self.site = site
        self.resources = [site.upload(content) for content in contents]

    def states(self) -> list[str]:
        return sorted(row.state for row in self.rows())

    def rows(self):
        return [row for row in self.site.rows() if row.study_instance_uid == self.uid]

    def wait_for(self, *states: str) -> Study:
        wait_until(lambda: self.states() == sorted(states), 30, lambda: f"{self.states()}")
        return self

    def confirmed(self) -> Study:
        return self.wait_for(*["confirmed"] * len(self.files))

    def path(self, instance: str) -> str:
        return f"/dicomWeb/studies/{self.uid}/series/{self.series}/instances/{instance}"


def read(contents):
    for content in contents:
        yield pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True), content


def run(site, command, *arguments, code=0, config=None):
    """What a command says, which ends with a code."""
    config = config or site.orthanc.configuration_file
    done = CliRunner().invoke(app, [command, str(config), *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def run_json(*arguments, **more):
    return json.loads(run(*arguments, "--json", **more))


def store(site, content: bytes) -> None:
    answer = site.call(
        "POST", "/dicomWeb/studies", content, **{"Content-Type": "application/dicom"}
    )
    assert answer.status == 200, answer.data


def delete(site, study: Study, instance: str) -> None:
    assert site.call("DELETE", study.path(instance)).status in (200, 204)


def other_bytes(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def conflicting(site: Site) -> Study:
    """A study whose first instance is in quarantine."""
    contents = make_study(instances=3)
    store(site, other_bytes(contents[0]))
    study = Study(site, contents)
    return study.wait_for("confirmed", "confirmed", "quarantined")


# -- Status ---------------------------------------------------------------------------------------


def test_status_counts_what_the_ledger_has(site):
    Study(site).confirmed()
    told = run_json(site, "status")
    assert told["Worker"] is True
    google, second = told["Accounts"]
    rows = [row for row in site.rows() if row.account == "google" and row.state == "confirmed"]
    assert google["Account"] == "google"
    assert google["Confirmed"] == {"Instances": len(rows), "Bytes": sum(r.size_bytes for r in rows)}
    assert google["Waiting"] == google["Sending"] == NOTHING
    assert google["Problem"] is None
    assert second["Account"] == SECOND
    text = run(site, "status")
    assert f"{len(rows):,}" in text
    assert "google" in text
    assert "no worker" not in text


def test_status_measures_the_rate(site):
    engine = site.engine()
    ledger = Ledger(engine)

    def measured() -> bool:
        run(site, "pause", "google")
        study = Study(site)
        # Between the two looks of the command.
        resumption = threading.Timer(0.5, resume, (ledger, "google"))
        resumption.start()
        google = run_json(site, "status")["Accounts"][0]
        resumption.join()
        study.confirmed()
        return google["InstancesPerSecond"] > 0 and google["BytesPerSecond"] > 0

    wait_until(measured, 60)
    engine.dispose()


def test_status_tells_the_problem(site):
    site.emulator.switch(faults=[{"path": "/dicomWeb/studies$", "method": "POST", "status": 503}])
    try:
        study = Study(site)
        study.wait_for(*["delayed"] * 4)
        told = run_json(site, "status")["Accounts"][0]
        assert told["Waiting"]["Instances"] + told["Sending"]["Instances"] == 4
        assert told["OldestUnsentSeconds"] >= 0
        assert "503" in told["Problem"]
        assert "503" in run(site, "status")
    finally:
        site.emulator.switch(faults=[])
    study.confirmed()
    assert run_json(site, "status")["Accounts"][0]["Problem"] is None


def test_the_ledger_is_read_while_the_worker_is_down(site):
    study = Study(site).confirmed()
    assert site.stop_worker() == 0
    try:
        assert run_json(site, "status")["Worker"] is False
        assert "no worker runs" in run(site, "status")
        assert "wholly confirmed" in run(site, "receipt", study.uid)
        run(site, "audit", "--study", study.uid)
        said = run(
            *(site, "send", study.resources[0]), "--to", SECOND, "--orthanc", site.orthanc.url
        )
        assert "queued for second: 1 instance, they are sent as soon as a worker runs" in said
    finally:
        site.start_worker()
    study.wait_for(*["confirmed"] * 5)


def test_watch_draws_until_ctrl_c(site):
    Study(site).confirmed()
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "orthanc_gcp", "status", site.orthanc.configuration_file]
    process = subprocess.Popen(
        [*command, "--watch"],
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(secondary),
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(secondary)
    seen = b""

    def drawn() -> bool:
        nonlocal seen
        if select.select([primary], [], [], 0.1)[0]:
            seen += os.read(primary, 65536)
        # Drawn twice: the cursor went up to draw over the first.
        return b"google" in seen and "━".encode() in seen and b"\x1b[1A" in seen

    wait_until(drawn, 30, lambda: seen.decode(errors="replace"))
    os.write(primary, b"\x03")
    assert process.wait(20) == 0
    os.close(primary)


def _take_terminal(terminal: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_watch_prints_changes_where_there_is_no_terminal(site, form):
    command = [sys.executable, "-m", "orthanc_gcp", "status", site.orthanc.configuration_file]
    process = subprocess.Popen([*command, "--watch", *form], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = ""
    while "google" not in seen:
        line = process.stdout.readline()
        assert line, "it ended"
        seen += line
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(20) == 0
    process.stdout.close()
    assert "\x1b" not in seen + rest
    if form:
        assert json.loads(seen)["Accounts"][0]["Account"] == "google"


# -- Receipts -------------------------------------------------------------------------------------


def test_a_receipt_can_be_recomputed_from_the_files(site, tmp_path):
    study = Study(site, series=2).confirmed()
    told = run_json(site, "receipt", study.uid)
    (account,) = told["Accounts"]
    assert told["Complete"] is account["Complete"] is True
    instances = [one for series in account["Series"] for one in series["Instances"]]
    assert {one["Instance"]: one["Sha256"] for one in instances} == {
        uid: hashlib.sha256(content).hexdigest() for uid, content in study.files.items()
    }
    assert {one["Instance"]: one["Bytes"] for one in instances} == {
        uid: len(content) for uid, content in study.files.items()
    }
    # The digest of all by nothing but what every machine has.
    for uid, content in study.files.items():
        (tmp_path / uid).write_bytes(content)
    recomputed = subprocess.run(
        "sha256sum * | awk '{print $2, $1}' | LC_ALL=C sort | sha256sum",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert account["Sha256"] == recomputed.stdout.split()[0]
    # Who, where, when.
    key = json.loads((site.emulator.credentials / "service-account.json").read_text())
    assert account["SentBy"] == [key["client_email"]]
    assert account["Workers"] == ["worker"]
    assert account["Store"] == STORE_PATH
    assert account["Sources"] == ["test/ORTHANC"]
    for one in instances:
        times = [
            datetime.fromisoformat(one[name]) for name in ("Received", "Acknowledged", "Confirmed")
        ]
        assert times == sorted(times)
        assert times[0].utcoffset() == timedelta(0)
    text = run(site, "receipt", study.uid)
    assert "wholly confirmed, 8 instances" in text
    for word in (account["Sha256"], key["client_email"], *study.files):
        assert word in text
    assert "Custody^Test" not in text + json.dumps(told)


def test_a_receipt_says_what_is_not_confirmed_and_why(site):
    study = conflicting(site)
    told = run_json(site, "receipt", study.uid, code=1)
    (account,) = told["Accounts"]
    assert told["Complete"] is False
    assert account["States"] == {"confirmed": 2, "quarantined": 1}
    confirmed = [row for row in study.rows() if row.state == "confirmed"]
    lines = "".join(sorted(f"{row.sop_instance_uid} {row.sha256}\n" for row in confirmed))
    assert account["Sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    (event,) = account["Events"]
    assert event["Kind"] == "quarantined"
    assert event["Instance"] in study.files
    text = run(site, "receipt", study.uid, code=1)
    assert "NOT WHOLLY CONFIRMED, 3 instances" in text
    assert "1 quarantined" in text
    assert "quarantined (conflict: the store has other bytes" in text


def test_receipts_of_what_is_not_known(site):
    study = Study(site).confirmed()
    assert "knows of no study 1.2.3" in run(site, "receipt", "1.2.3", code=2)
    said = run(site, "receipt", study.uid, "--account", SECOND, code=2)
    assert f"knows of no study {study.uid} that was to be sent to account second" in said


# -- Audit ----------------------------------------------------------------------------------------


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


# -- Sending --------------------------------------------------------------------------------------


def test_send_on_demand(site):
    study = Study(site, modality="CT")  # which no rule wants
    parent = site.orthanc.json("GET", f"/instances/{study.resources[0]}/study")["ID"]
    said = run(site, "send", parent, "--to", SECOND, "--orthanc", site.orthanc.url)
    assert said == "queued for second: 4 instances\n"
    study.confirmed()
    assert {row.account for row in study.rows()} == {SECOND}
    assert {row.priority for row in study.rows()} == {1}


def test_a_dry_run_tells_what_the_rules_would_do_and_does_nothing(site):
    study = Study(site, modality="CT")
    before = site.rows()
    said = run(site, "send", "--dry-run", "--orthanc", site.orthanc.url)
    kept = {one: site.orthanc.json("GET", f"/instances/{one}") for one in instances(site)}
    total = {modality: [] for modality in ("OT", "CT")}
    for one, described in kept.items():
        tags = site.orthanc.json("GET", f"/instances/{one}/simplified-tags")
        total[tags["Modality"]].append(described["FileSize"])
    google, secret, rest = (line for line in said.splitlines() if line.startswith("to "))
    assert google == _forecast("to google (Modalities OT)", total["OT"])
    assert secret == _forecast("to second (Modalities MR; Tags PatientName)", [])
    assert rest == _forecast("to nobody", total["CT"])
    assert "Secret" not in said
    some = run(site, "send", study.resources[0], "--dry-run", "--orthanc", site.orthanc.url)
    assert f"to nobody: 1 instance, {kept[study.resources[0]]['FileSize']:,} bytes" in some
    assert f"such as study {study.uid}" in some
    assert "Send[0], to google: not met are Modalities 1" in some
    assert "Send[1], to second: not met are Modalities 1" in some
    asked = ("--dry-run", "--to", SECOND, "--orthanc", site.orthanc.url)
    assert "to second (all): 1 instance, " in run(site, "send", study.resources[0], *asked)
    assert site.rows() == before


def configured(site, tmp_path, **section):
    """The site's configuration with other options of the section."""
    whole = json.loads(site.orthanc.configuration_file.read_text())
    whole["GoogleCloudPlatform"] |= section
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(whole))
    return file


def dry_run(site, tmp_path, resource, *options, code=0, **section):
    file = configured(site, tmp_path, **section)
    at = ("--dry-run", *options, "--orthanc", site.orthanc.url)
    return run(site, "send", resource, *at, code=code, config=file)


def test_a_dry_run_tells_why_something_goes_nowhere(site, tmp_path):
    one = Study(site, modality="MR").resources[0]
    rules = [
        {"To": "google", "Modalities": ["CT"]},
        {"To": "google", "CalledAet": ["SOMEBODY"]},
        {"To": SECOND, "Modalities": ["M?"], "Tags": {"PatientID": "P", "(0010,0010)": "Secret*"}},
    ]
    said = dry_run(site, tmp_path, one, Send=rules)
    assert "  Send[0], to google: not met are Modalities 1\n" in said
    assert "  Send[1], to google: not met are CalledAet 1\n" in said
    assert "  Send[2], to second: not met are Tags.(0010,0010) 1\n" in said
    assert "Secret" not in said
    assert "Custody^Test" not in said
    said = dry_run(site, tmp_path, one, Send=[])
    assert 'there is no rule: "Send" of the configuration is empty' in said


@pytest.mark.parametrize(
    "section",
    [
        {"Send": [{"To": "google"}, {"To": SECOND, "Tags": {"patientid": "Secret"}}]},
        {"Send": [{"To": "nobody"}]},
        {"Send": {}},
        {"Send": [{"To": "google"}], "Sned": []},
    ],
)
def test_a_dry_run_foretells_nothing_of_rules_with_mistakes(site, tmp_path, section):
    one = instances(site)[0]
    said = dry_run(site, tmp_path, one, code=2, **section)
    assert said.startswith("GoogleCloudPlatform.S")
    assert "nothing is sent by it" in said
    assert "instance" not in said
    assert "Secret" not in said
    assert "to second (all): 1 instance" in dry_run(site, tmp_path, one, "--to", SECOND, **section)


def test_a_dry_run_tells_what_waits_for_a_mistake_to_be_mended(site, tmp_path):
    one, rules = instances(site)[0], [{"To": "google"}]
    said = dry_run(site, tmp_path, one, BaseUrl="http://healthcare", Send=rules)
    assert "to google (all): 1 instance" in said
    assert "  waits until this is mended: GoogleCloudPlatform.BaseUrl: found an address" in said
    said = dry_run(site, tmp_path, one, Database="hush", Send=rules)
    assert "nothing is sent until this is mended: GoogleCloudPlatform.Database" in said
    assert "hush" not in said
    said = dry_run(site, tmp_path, one, "--to", "google", code=2, BaseUrl="x", Send=rules)
    assert said.startswith("GoogleCloudPlatform.BaseUrl: found")


def instances(site):
    return site.orthanc.json("GET", "/instances")


def _forecast(where, sizes):
    return f"{where}: {count(len(sizes), 'instance')}, {sum(sizes):,} bytes"


def test_send_wants_to_know_what_and_where(site):
    at = ("--orthanc", site.orthanc.url)
    assert "name resources" in run(site, "send", "--to", SECOND, *at, code=2)
    assert "name resources" in run(site, "send", "0-1", *at, code=2)
    unknown = "11111111-11111111-11111111-11111111-11111111"
    said = run(site, "send", unknown, "--to", SECOND, *at, code=2)
    assert f"Orthanc has no resource {unknown}" in said
    assert "not UIDs" in run(site, "send", "1.2.3", "--to", SECOND, *at, code=2)
    away = run(site, "send", unknown, "--to", SECOND, "--orthanc", "http://127.0.0.1:1", code=2)
    assert "does not answer" in away


# -- Steering -------------------------------------------------------------------------------------


def test_retry_sends_what_is_in_quarantine(site):
    study = conflicting(site)
    (row,) = [row for row in study.rows() if row.state == "quarantined"]
    for options in (["--reason", "invalid"], ["--study", "1.2.3"], ["--account", SECOND]):
        assert run(site, "retry", *options) == "queued again: 0 instances\n"
    delete(site, study, row.sop_instance_uid)  # what the store had in its place
    chosen = ("--study", study.uid, "--instance", row.sop_instance_uid, "--reason", "conflict")
    assert run(site, "retry", "--account", "google", *chosen) == "queued again: 1 instance\n"
    study.confirmed()
    (account,) = run_json(site, "receipt", study.uid)["Accounts"]
    assert [event["Kind"] for event in account["Events"]] == ["quarantined", "retried"]


def test_pause_and_resume(site):
    assert run(site, "pause", SECOND) == "account second is paused\n"
    try:
        told = {one["Account"]: one["Paused"] for one in run_json(site, "status")["Accounts"]}
        assert told == {"google": False, SECOND: True}
        assert "second: paused" in run(site, "status")
        Study(site).confirmed()  # the other account goes on
        time.sleep(1)  # the worker looks twice a second at what people have paused
        study = Study(site, modality="CT")
        run(site, "send", *study.resources, "--to", SECOND, "--orthanc", site.orthanc.url)
        Study(site).confirmed()
        assert set(study.states()) == {"waiting"}
    finally:
        assert run(site, "resume", SECOND) == "account second is sent to again\n"
    study.confirmed()


# -- What can be wrong ----------------------------------------------------------------------------

COMMANDS = [
    ("status",),
    ("receipt", "1.2.3"),
    ("audit",),
    ("send", "0-1", "--to", "google"),
    ("retry",),
    ("pause", "google"),
    ("resume", "google"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_ledger(site, tmp_path, command):
    name, *arguments = command
    whole = {
        **json.loads(site.orthanc.configuration_file.read_text()),
        "StorageDirectory": str(tmp_path),
    }
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(whole))
    said = run(site, name, *arguments, code=2, config=file)
    assert f"there is no ledger at {tmp_path}" in said
    assert list(tmp_path.iterdir()) == [file], "nothing was made"

    secret = "postgresql://me:hush@127.0.0.1:1/custody"
    whole["GoogleCloudPlatform"]["Database"] = secret
    file.write_text(json.dumps(whole))
    said = run(site, name, *arguments, code=2, config=file)
    assert "the ledger cannot be reached at postgresql://127.0.0.1:1/custody" in said
    assert "hush" not in said

    whole["GoogleCloudPlatform"]["Database"] = "postgresql://me:hush/x@127.0.0.1:1/custody"
    file.write_text(json.dumps(whole))
    said = run(site, name, *arguments, code=2, config=file)
    assert "GoogleCloudPlatform.Database: found a string, expected" in said
    assert "nothing is sent" in said
    assert "hush" not in said

    file.write_text("{")
    assert "not JSON" in run(site, name, *arguments, code=2, config=file)


@pytest.mark.parametrize(
    "command",
    [
        ("audit", "--account", "nobody"),
        ("send", "0-1", "--to", "nobody"),
        ("retry", "--account", "nobody"),
        ("pause", "nobody"),
        ("resume", "nobody"),
    ],
    ids=lambda command: command[0],
)
def test_an_account_that_is_not_there(site, command):
    said = run(site, *command, code=2)
    assert "there is no account nobody: expected one of google, second" in said


def test_help_loads_nothing_heavy():
    code = (
        "import sys; import orthanc_gcp.cli;"
        "print(*(set(sys.modules) & {'sqlalchemy', 'pydicom', 'starlette', 'uvicorn'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_on_postgresql(tmp_path):
    server = Postgres()
    try:
        with Site(tmp_path, section={"Database": server.url}) as site:
            site.wait_for_following()
            study = Study(site).confirmed()
            assert run_json(site, "status")["Worker"] is True
            assert "wholly confirmed" in run(site, "receipt", study.uid)
            missing = next(iter(study.files))
            delete(site, study, missing)
            told = run_json(site, "audit", "--send-again", "--bytes", code=1)
            assert told["Studies"][0]["Missing"] == [missing]
            study.confirmed()
            assert run(site, "retry") == "queued again: 0 instances\n"
            site.stop_worker()
            assert run_json(site, "status")["Worker"] is False
    finally:
        server.remove()


# -- Words ----------------------------------------------------------------------------------------


def test_words():
    assert [count(number, "instance") for number in (0, 1, 1234)] == [
        "0 instances",
        "1 instance",
        "1,234 instances",
    ]
    assert count(2, "study") == "2 studies"
    assert [age(seconds) for seconds in (None, 5.2, 119, 180, 7300, 4 * 86400)] == [
        *("", "5 s", "119 s", "3 min", "2 h", "4 days")
    ]
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)
    later = now.astimezone() + timedelta(seconds=90)
    assert moment(later.isoformat(), now) == later.strftime("%H:%M:%S")
    far = now.astimezone() + timedelta(days=90)
    assert moment(far.isoformat(), now) == far.strftime("%Y-%m-%d %H:%M")
    assert moment(None, now) == ""
