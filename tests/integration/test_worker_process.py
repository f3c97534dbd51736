"""The worker as a child of a real Orthanc: its life, its secrets, what it shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from orthanc_gcp.orthanc.first_start import FILE_NAME
from orthanc_gcp.plugin import script
from orthanc_gcp.worker.handshake import WorkerAddress, WorkerInput
from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.orthanc import Orthanc, free_port, wait_until
from tests.support.site import make_study

ACCOUNT = "my google"
PATH = "/gcp/accounts/my%20google"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("emulator"), "--admin")
    yield emulator
    emulator.stop()


@pytest.fixture
def site(orthanc, emulator):
    """Makes an Orthanc that sends all it receives."""

    def make(*, rules=({"To": ACCOUNT},), section=None, start=True, more=None, **options):
        file = str(emulator.credentials / "service-account.json")
        configuration = {
            "GoogleCloudPlatform": {
                "BaseUrl": f"{emulator.url}/v1beta1/",
                "Accounts": {ACCOUNT: {**STORE, "ServiceAccountFile": file}},
                "Send": list(rules),
                **(section or {}),
            },
            **(more or {}),
        }
        return orthanc(configuration, start=start, arguments=("--verbose",), **options)

    return make


def children(orthanc: Orthanc) -> list[psutil.Process]:
    return psutil.Process(orthanc.pid).children(recursive=True)


def wait_for_worker(orthanc: Orthanc) -> psutil.Process:
    wait_until(
        lambda: orthanc.request("GET", "/gcp/transfers").status == 200, 40, orthanc_log(orthanc)
    )
    orthanc.wait_for_log("following Orthanc")
    (child,) = children(orthanc)
    return child


def orthanc_log(orthanc):
    return lambda: orthanc.log[-6000:]


def upload(orthanc: Orthanc, **study) -> list[str]:
    return [orthanc.json("POST", "/instances", content)["ID"] for content in make_study(**study)]


def overview(orthanc: Orthanc):
    answer = orthanc.request("GET", f"{PATH}/transfers")
    return json.loads(answer.data) if answer.status == 200 else None


def wait_for(orthanc: Orthanc, **counts: int) -> None:
    def reached():
        told = overview(orthanc)
        return told and all(told[name]["Instances"] == count for name, count in counts.items())

    wait_until(reached, 40, lambda: f"{overview(orthanc)} is not {counts}:\n{orthanc.log[-6000:]}")


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_received_before_the_first_worker_has_begun(site):
    orthanc = site()
    upload(orthanc, instances=5)
    wait_for(orthanc, Confirmed=5)


def test_following_begins_at_the_first_start_whatever_happens_next(site):
    """The database is away, and Orthanc is killed before anything was written there."""
    orthanc = site(section={"Database": f"postgresql://nobody@127.0.0.1:{free_port()}/none"})
    upload(orthanc, instances=3)
    orthanc.wait_for_log("the ledger cannot be reached", 40)
    orthanc.kill()
    noted = orthanc.folder / "storage" / FILE_NAME
    first = json.loads(noted.read_bytes())
    time.sleep(1.1)  # Orthanc tells whole seconds
    configuration = json.loads(orthanc.configuration_file.read_text())
    del configuration["GoogleCloudPlatform"]["Database"]
    orthanc.configuration_file.write_text(json.dumps(configuration))
    orthanc.start()
    wait_for(orthanc, Confirmed=3)
    assert json.loads(noted.read_bytes()) == first, "nothing older is to be sent later either"


def test_received_is_confirmed_and_shown(site):
    orthanc = site(section={"RefreshInterval": 1})
    wait_for_worker(orthanc)
    upload(orthanc, instances=5)
    wait_for(orthanc, Confirmed=5, Waiting=0, Sending=0, Acknowledged=0)
    told = overview(orthanc)
    assert told["Account"] == ACCOUNT
    assert told["Confirmed"]["Bytes"] > 5 * 64 * 64
    page = orthanc.json("GET", f"{PATH}/instances?state=confirmed&limit=3")
    assert len(page["Instances"]) == 3
    rest = orthanc.json("GET", f"{PATH}/instances?state=confirmed&limit=3&after={page['Next']}")
    assert len(rest["Instances"]) == 2
    ((study,), after) = orthanc.json("GET", f"{PATH}/studies").values()
    assert (study["Confirmed"]["Instances"], after) == (5, None)
    confirmed = f'account="{ACCOUNT}",state="confirmed"'
    wait_until(lambda: metrics(orthanc).get(f"instances{{{confirmed}}}") == 5)
    found = metrics(orthanc)
    assert found[f"bytes{{{confirmed}}}"] == told["Confirmed"]["Bytes"]
    assert found[f'instances{{account="{ACCOUNT}",state="waiting"}}'] == 0
    assert found[f'oldest_unsent_age_seconds{{account="{ACCOUNT}"}}'] == 0


def metrics(orthanc: Orthanc) -> dict[str, float]:
    lines = orthanc.request("GET", "/tools/metrics-prometheus").data.decode().splitlines()
    found = {}
    for line in lines:
        if line.startswith("gcp_transfer_"):
            name, _, value = line.removeprefix("gcp_transfer_").rpartition("} ")
            found[name + "}"] = float(value.split()[0])
    return found


def test_statuses(site):
    orthanc = site()
    wait_for_worker(orthanc)

    def status(method, path, body=b""):
        answer = orthanc.request(method, path, body)
        return answer.status, answer.headers.get("Allow")

    assert status("GET", "/gcp/accounts/nobody/transfers") == (404, None)
    assert status("POST", "/gcp/transfers") == (405, "GET")
    assert status("GET", f"{PATH}/retry") == (405, "POST")
    assert status("GET", f"{PATH}/instances?state=unsent") == (400, None)
    assert status("GET", f"{PATH}/send") == (405, "POST")
    assert status("POST", f"{PATH}/send", {"Resources": ["x"]}) == (404, None)
    assert status("GET", PATH) == (200, None)


def test_sent_on_demand_while_it_is_not_paused(site):
    orthanc = site(rules=[{"To": ACCOUNT, "Modalities": ["NONE"]}])
    wait_for_worker(orthanc)
    resources = upload(orthanc, instances=3)
    study = orthanc.json("GET", f"/instances/{resources[0]}/study")["ID"]
    assert orthanc.json("POST", f"{PATH}/pause", b"")["Paused"] is True
    sent = orthanc.json("POST", f"{PATH}/send", {"Resources": [study, resources[1]]})
    assert sent == {"Account": ACCOUNT, "Instances": 3}
    wait_for(orthanc, Waiting=3)
    assert orthanc.json("POST", f"{PATH}/resume", b"")["Paused"] is False
    wait_for(orthanc, Confirmed=3)


def test_nothing_is_read_back_while_it_is_paused(site, emulator):
    orthanc = site()
    worker = wait_for_worker(orthanc)
    emulator.switch(faults=[{"path": "/instances", "method": "GET", "status": 503}])
    try:
        upload(orthanc, instances=3)
        wait_for(orthanc, Acknowledged=3)
        orthanc.json("POST", f"{PATH}/pause", b"")
    finally:
        emulator.switch(faults=[])
    worker.kill()  # the next one has no reason of its own to wait
    orthanc.wait_for_log("it is started again")
    wait_for_worker(orthanc)
    time.sleep(1.5)
    assert overview(orthanc)["Acknowledged"]["Instances"] == 3
    orthanc.json("POST", f"{PATH}/resume", b"")
    wait_for(orthanc, Confirmed=3)


def test_it_is_started_again_and_goes_on(site):
    orthanc = site()
    first = wait_for_worker(orthanc)
    orthanc.json("POST", f"{PATH}/pause", b"")
    upload(orthanc, instances=3)
    first.kill()
    wait_until(lambda: is_gone(first))
    orthanc.wait_for_log("it is started again")
    second = wait_for_worker(orthanc)
    assert second.pid != first.pid
    assert overview(orthanc)["Paused"] is True
    orthanc.json("POST", f"{PATH}/resume", b"")
    wait_for(orthanc, Confirmed=3)


def test_it_stops_with_orthanc(site):
    orthanc = site()
    child = wait_for_worker(orthanc)
    _, code = orthanc.stop()
    assert code == 0
    assert is_gone(child)


def test_it_stops_with_orthanc_though_it_hangs(site):
    orthanc = site()
    child = wait_for_worker(orthanc)
    child.suspend()
    _, code = orthanc.stop()
    assert code == 0
    assert is_gone(child)


def test_it_dies_with_an_orthanc_that_is_killed(site):
    orthanc = site()
    child = wait_for_worker(orthanc)
    orthanc.kill()
    wait_until(lambda: is_gone(child))
    orthanc.start()
    wait_for_worker(orthanc)


def test_it_ends_when_stdin_does(site, tmp_path):
    """Where there is no kernel that ends it with its parent."""
    orthanc = site(rules=[], start=True)
    given = WorkerInput(
        configuration=json.loads(orthanc.configuration_file.read_text()),
        folder=orthanc.folder,
        orthanc=orthanc.url,
        fingerprint="",
        authorization="",
        name="w",
        since=0,
        secret="s",
    )
    command = [sys.executable, "-m", "orthanc_gcp", "worker", "-"]
    pipe = subprocess.PIPE
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log)
    try:
        process.stdin.write(given.line())
        process.stdin.flush()
        assert WorkerAddress.of_line(process.stdout.readline()).socket.is_socket()
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_secrets_stay_where_they_are_though_it_may_ask_orthanc(site):
    more = {"AuthenticationEnabled": True, "RegisteredUsers": {"alice": "pass-needle"}}
    orthanc = site(start=False, more=more)
    orthanc.authenticate("alice", "pass-needle")
    orthanc.start()
    child = wait_for_worker(orthanc)
    upload(orthanc, instances=2)
    wait_for(orthanc, Confirmed=2)
    seen = " ".join(child.cmdline()) + " ".join(
        f"{name}={value}" for name, value in child.environ().items() if name not in os.environ
    )
    for needle in ("pass-needle", "Bearer", "Secret", "Authorization"):
        assert needle not in seen
        assert needle not in orthanc.log
    body = {"All": True, "Why": "none is there", "By": "bob", "User": "carol"}
    answer = orthanc.request("POST", f"/gcp/accounts/{ACCOUNT}/dismiss", json.dumps(body).encode())
    assert json.loads(answer.data)["By"] == "alice (logged in to Orthanc)"
    path = f"/gcp/accounts/{ACCOUNT}/losses/acknowledge"
    unsigned = {"Listed": "1-0-0000000000000000", "User": ""}
    assert orthanc.request("POST", path, unsigned).status == 409
    elsewhere = {"Origin": "https://attacker.example"}
    assert orthanc.request("POST", path, unsigned, **elsewhere).status == 403


def test_without_a_rule_there_is_no_worker(site):
    orthanc = site(rules=[])
    orthanc.wait_for_servers(ACCOUNT)
    answer = orthanc.request("GET", "/gcp/transfers")
    assert answer.status == 503
    assert "no rule in Send" in json.loads(answer.data)["Message"]
    assert children(orthanc) == []


def test_what_waits_without_a_rule_is_said(site, emulator):
    orthanc = site(section={"BaseUrl": "http://127.0.0.1:1/v1/"})  # nothing can be sent
    wait_for_worker(orthanc)
    upload(orthanc, instances=3)
    wait_for(orthanc, Waiting=3)
    orthanc.stop()
    configuration = json.loads(orthanc.configuration_file.read_text())
    del configuration["GoogleCloudPlatform"]["Send"]
    orthanc.configuration_file.write_text(json.dumps(configuration))
    orthanc.start()
    words = f"account {ACCOUNT}: 3 instances wait and nobody sends or confirms them"
    orthanc.wait_for_log(words, 40)
    answer = orthanc.request("GET", "/gcp/transfers")
    assert (answer.status, words in json.loads(answer.data)["Message"]) == (503, True)
    shown = f'gcp_problem_instances{{account="{ACCOUNT}",kind="worker"}} 3'
    metrics = orthanc.request("GET", "/tools/metrics-prometheus").data.decode()
    assert shown in metrics.replace(".0", "")
    assert children(orthanc) == []


def test_a_missing_package_is_one_error(site, tmp_path):
    hiding = tmp_path / "hiding" / "sqlalchemy"
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").write_text("raise ModuleNotFoundError('no', name='sqlalchemy')")
    hidden = {"PYTHONPATH": os.pathsep.join([str(hiding.parent), os.environ.get("PYTHONPATH", "")])}
    orthanc = site(environment=hidden)
    orthanc.wait_for_log("the worker cannot run as it is")
    assert "pip install 'orthanc-gcp[worker]'" in orthanc.log
    assert orthanc.log.count("the worker needs sqlalchemy") == 1
    assert orthanc.request("GET", "/gcp/transfers").status == 503
    assert children(orthanc) == []


def test_a_script_of_an_older_version_says_so(site):
    old = script.text().replace("start(orthanc, INTERPRETER or _interpreter())", "start(orthanc)")
    orthanc = site(python_script=old)
    orthanc.wait_for_log("orthanc-gcp plugin-script")
    orthanc.wait_for_servers(ACCOUNT)


def test_an_interpreter_that_is_gone_is_told(site):
    moved = script.text().replace(f"INTERPRETER = {sys.executable!r}", "INTERPRETER = '/no/python'")
    orthanc = site(python_script=moved)
    orthanc.wait_for_log("the worker cannot be started by /no/python")
    assert orthanc.stop()[1] == 0


def test_a_wrong_database_stops_the_worker_and_nothing_else(site):
    orthanc = site(section={"Database": "mysql://me:hush@host/ledger", "Webhook": "hush"})
    orthanc.wait_for_servers(ACCOUNT)
    orthanc.wait_for_log("worker: GoogleCloudPlatform.Database: found a string, expected")
    orthanc.wait_for_log("nobody is told of alarms")
    wait_until(lambda: not children(orthanc))
    assert orthanc.answers()
    assert not list(orthanc.folder.rglob("orthanc-gcp.sqlite"))
    assert "hush" not in orthanc.log
