"""Everything on a system that is none of POSIX, as far as one can be had without such a system.

Each process here is made blind to what Windows has not: ``tests/support/without_posix``. What
only Windows itself shows (its paths in its own functions, its locks) is not seen here.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path, PureWindowsPath

import psutil
import pydicom
import pytest
import urllib3
from sqlalchemy import make_url

from orthanc_gcp import configuration
from orthanc_gcp.cli import app
from orthanc_gcp.ledger.database import url_of
from orthanc_gcp.plugin import script
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.keys import STORE
from tests.support.listing import assert_same
from tests.support.orthanc import Orthanc, wait_until
from tests.support.site import make_study

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "orthanc_gcp"
BLIND = ROOT / "tests" / "support" / "without_posix"
ACCOUNT = "google"
STUDY = make_study(instances=3, size=400)

IMPORT_ALL = """
import importlib, pkgutil, orthanc_gcp
for module in pkgutil.walk_packages(orthanc_gcp.__path__, "orthanc_gcp."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
RUN_COMMANDS = """
import json, shutil, sys
from click.testing import CliRunner
from orthanc_gcp.cli import app

shutil.which = lambda *_, **__: None  # the demonstration would find this machine's Orthanc
found = {}
for arguments in json.loads(sys.stdin.read()):
    result = CliRunner().invoke(app, arguments)
    error = None if isinstance(result.exception, SystemExit) else result.exception
    found[" ".join(arguments)] = {
        "Code": result.exit_code, "Error": error and repr(error), "Output": result.output
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """The environment of a process that sees no POSIX, and where its number is written."""
    log = tmp_path_factory.mktemp("blind") / "processes"
    log.touch()
    path = os.pathsep.join(filter(None, (str(BLIND), str(PACKAGE.parent))))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONWARNDEFAULTENCODING": "1",
        "WITHOUT_POSIX_LOG": str(log),
    }


@pytest.fixture(scope="module")
def emulator(tmp_path_factory, blind):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in blind.items():
            patch.setenv(name, value)
        emulator = Emulator(tmp_path_factory.mktemp("emulator"), "--admin")
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory, blind, emulator):
    """An Orthanc whose connector is blind, too, and so is the worker that it starts."""
    section = {
        "BaseUrl": f"{emulator.url}/v1beta1/",
        "Accounts": {
            ACCOUNT: {
                **STORE,
                "ServiceAccountFile": str(emulator.credentials / "service-account.json"),
            }
        },
        "Send": [{"To": ACCOUNT}],
    }
    orthanc = Orthanc(
        tmp_path_factory.mktemp("site"), {"GoogleCloudPlatform": section}, environment=blind
    )
    orthanc.start()
    yield orthanc
    orthanc.stop()


def blind_processes(blind) -> set[int]:
    return {int(number) for number in Path(blind["WITHOUT_POSIX_LOG"]).read_text().split()}


def test_what_is_hidden_is_hidden(blind):
    """And the standard library, which stands on it, works."""
    code = (
        "import asyncio, subprocess, tempfile; exec('import os, socket', ours := "
        "{'__name__': 'orthanc_gcp.x'}); assert not hasattr(ours['os'], 'geteuid');"
        "assert not hasattr(ours['socket'], 'AF_UNIX'); assert ours['os'].getcwd();"
        "exec('import fcntl', ours)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=blind, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip().endswith("No module named 'fcntl'")


def test_what_orthanc_receives_arrives(site, emulator, blind):
    """Connector, worker, ledger on SQLite and emulator, and the worker's API by TCP."""

    def confirmed():
        return site.json("GET", f"/gcp/accounts/{ACCOUNT}/transfers")["Confirmed"]["Instances"]

    site.wait_for_log("following Orthanc", 40)
    (worker,) = psutil.Process(site.pid).children()
    assert {site.pid, worker.pid} <= blind_processes(blind)
    listening = [one for one in worker.net_connections() if one.status == psutil.CONN_LISTEN]
    assert [one.laddr.ip for one in listening] == ["127.0.0.1"]
    for content in STUDY:
        site.json("POST", "/instances", content)
    wait_until(lambda: confirmed() == len(STUDY), 40, lambda: site.log[-5000:])
    store = f"{emulator.url}/v1/{STORE_PATH}/dicomWeb"
    with urllib3.PoolManager(headers=emulator.bearer(), retries=False) as http:
        sent = pydicom.dcmread(BytesIO(STUDY[0]))
        instance = (
            f"{store}/studies/{sent.StudyInstanceUID}/series/{sent.SeriesInstanceUID}/instances/"
            f"{sent.SOPInstanceUID}"
        )
        # In the emulator's own process, as no open file can be handed to another.
        rendered = http.request("GET", f"{instance}/rendered", headers=accept(http, "image/png"))
        assert (rendered.status, rendered.data[:4]) == (200, b"\x89PNG")
        missing = f"{instance}/frames/2/rendered"
        assert http.request("GET", missing, headers=accept(http, "image/png")).status == 400
        whole = accept(http, "application/dicom; transfer-syntax=*")
        assert http.request("GET", instance, headers=whole).data == STUDY[0]
        assert http.request("DELETE", instance).status == 200
        assert len(json.loads(http.request("GET", f"{store}/instances").data)) == len(STUDY) - 1
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + STUDY[0] + b"\r\n--b--"
        headers = {**http.headers, "Content-Type": 'multipart/related; type="application/dicom"'}
        headers["Content-Type"] += "; boundary=b"
        again = http.request("POST", f"{store}/studies", body=body, headers=headers)
        assert again.status == 200


def accept(http, media_type):
    return {**http.headers, "Accept": media_type}


COMMANDS = set(app.commands)
PROCESSES = {"emulator", "gateway", "worker", "sidecar"}
"""They run until they are stopped."""


def test_each_command_runs(site, blind):
    """After what was sent, while the worker has the ledger; all modules can be imported, too."""
    config, orthanc = str(site.configuration_file), ("--orthanc", site.url)
    study = site.json("GET", "/studies")[0]
    uid = site.json("GET", f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"]
    runs = [
        ("check", config, *orthanc, "--write"),
        ("status", config),
        ("receipt", config, uid),
        ("audit", config, *orthanc),
        ("query", config, ACCOUNT, f"StudyInstanceUID={uid}"),
        ("retrieve", config, ACCOUNT, uid, "--wait", *orthanc),
        ("send", config, study, "--to", ACCOUNT, *orthanc),
        ("backfill", config, *orthanc),
        ("retry", config),
        ("pause", config, ACCOUNT),
        ("resume", config, ACCOUNT),
        ("indexes", config, *orthanc),
        ("losses", config),
        ("destinations", config),
        ("quarantine", config),
        ("top", config, *orthanc),
        ("plugin-script",),
        ("install", "--orthanc-config", config, "--dry-run"),
        ("demo",),
    ]
    assert_same(
        (command for command, *_ in runs),
        COMMANDS - PROCESSES,
        page="tests/test_portability.py",
        place="test_each_command_runs",
        source="cli.py",
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_ALL + RUN_COMMANDS],
        input=json.dumps([*runs, *((command, "--help") for command in sorted(COMMANDS))]),
        env=blind,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    errors = {name: one["Error"] for name, one in found.items() if one["Error"]}
    assert errors == {}
    codes = {name: one["Code"] for name, one in found.items() if one["Code"]}
    install, demo = " ".join(runs[-2]), "demo"
    assert codes == {install: 2, demo: 1}, found
    assert "Linux" in found[install]["Output"]
    said = " ".join(found[" ".join(runs[0])]["Output"].split())
    assert "round trip" in said and said.count("was not checked") == 2, said
    assert "no difference" in found[" ".join(runs[3])]["Output"]


def test_the_sidecar_and_a_worker_by_hand_run_until_they_are_stopped(tmp_path, site, blind):
    """The worker that Orthanc has started has the ledger, and a second one is refused."""
    command = [sys.executable, "-P", "-m", "orthanc_gcp"]
    options = (str(site.configuration_file), "--orthanc", site.url)
    with (tmp_path / "log").open("w+b") as log:
        sidecar = subprocess.Popen([*command, "sidecar", *options], stderr=log, env=blind)
        try:
            second = subprocess.run(
                [*command, "worker", *options], env=blind, capture_output=True, text=True
            )
            assert second.returncode == 1
            assert "another worker has" in second.stderr
            wait_until(lambda: b"token" in (tmp_path / "log").read_bytes())
            sidecar.send_signal(signal.SIGTERM)
            assert sidecar.wait(20) == 0
        finally:
            sidecar.kill()
            sidecar.wait()


# -- Names of files as Windows has them ----------------------------------------------------------


def test_a_ledger_on_a_drive():
    folder = PureWindowsPath(r"C:\Orthanc 100%\Müller")
    url = make_url(url_of("", folder))
    assert PureWindowsPath(url.database) == folder / "orthanc-gcp.sqlite"


def test_the_script_names_folders_of_windows(monkeypatch):
    """In ASCII: Orthanc's Python reads the file, whatever wrote it."""
    packages = r"C:\Orthanc\new\Müller's\site-packages"
    monkeypatch.setattr(
        script.sysconfig, "get_paths", lambda: {"purelib": packages, "platlib": packages}
    )
    lines = ast.parse(script.text().encode("ascii").decode()).body
    (found,) = (
        ast.literal_eval(one.value)
        for one in lines
        if isinstance(one, ast.Assign) and one.targets[0].id == "PACKAGES"
    )
    assert found[1:] == [packages]


def test_a_key_on_a_drive():
    account = {**STORE, "ServiceAccountFile": r"C:\Orthanc\key.json"}
    settings = configuration.read({"GoogleCloudPlatform": {"Accounts": {"a": account}}})
    assert [str(problem) for problem in settings.problems] == []
    assert settings.accounts[0].service_account_file == r"C:\Orthanc\key.json"
