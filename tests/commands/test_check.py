"""The command ``check`` itself: whom it becomes, what it checks, and its exit code."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.commands import check as module
from orthanc_gcp.commands.check import _become, _chosen, _exit_code, _rest
from orthanc_gcp.doctor import Result
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.orthanc.installation import Service
from tests.support.public_installation import public_folder
from tests.support.terminal import invoke, write_config

USER = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def environment(monkeypatch):
    """The variables of this process, which are put back."""
    variables = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(variables)


def test_what_is_wrong_as_lines_and_as_json(config):
    done = invoke("check", config, code=1)
    assert "account my-google" in done.stdout
    assert "none.json" in "".join(done.stdout.split()), "whatever line it is broken at"
    assert "remedy:" in done.stdout
    document = json.loads(invoke("check", config, "--json", code=1).stdout)
    assert document["Passed"] is False
    assert list(document["Accounts"]) == ["my-google"]
    results = {one["Result"] for one in document["Accounts"]["my-google"]}
    assert "failed" in results
    assert {"Orthanc", "Custody", "Warnings"} < set(document)


def test_only_some_accounts(config):
    asked = ("--before-restart", "--json", "--account", "my-google")
    document = json.loads(invoke("check", config, *asked, code=1).stdout)
    assert list(document["Accounts"]) == ["my-google"]
    done = invoke("check", config, "--account", "nobody", code=2)
    assert done.stderr == "There is no account nobody\n"
    done = invoke("check", config, "--store-to", "NOBODY", code=2)
    assert done.stderr == "There is no modality NOBODY in DicomModalities\n"


def test_what_cannot_be_checked(tmp_path, config):
    missing = tmp_path / "missing.json"
    assert str(missing) in invoke("check", missing, code=2).stderr
    done = invoke("check", config, "--user", "nobody-of-this-name", code=2)
    assert "nobody-of-this-name" in done.stderr
    done = invoke("check", config, "--orthanc", "nonsense", code=2)
    assert "expected http://user:password@host:port/" in done.stderr
    config.write_text("{}")
    assert "account" in invoke("check", config, code=2).stderr


class Forbidding(BaseHTTPRequestHandler):
    """An Orthanc that wants a password."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_orthanc_that_is_named_is_asked(config):
    with ThreadingHTTPServer(("127.0.0.1", 0), Forbidding) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        write_config(config, HttpPort=server.server_port)
        place = f"http://127.0.0.1:{server.server_port}/"
        asked = {"ORTHANC_GCP_CHECK_ORTHANC": place}
        document = json.loads(invoke("check", config, "--json", code=1, **asked).stdout)
        server.shutdown()
        thread.join()
    assert "ORTHANC_GCP_CHECK_ORTHANC" in json.dumps(document["Orthanc"])


def test_the_exit_code():
    assert _exit_code({Result.PASSED, Result.SKIPPED, Result.WARNING}) == 0
    assert _exit_code({Result.PASSED, Result.UNKNOWN}) == 2
    assert _exit_code({Result.FAILED, Result.UNKNOWN}) == 1


def test_accounts_with_a_mistake_are_checked_too():
    accounts = {"right": {}, "wrong": {"Project": 5}}
    settings = configuration.read({"GoogleCloudPlatform": {"Accounts": accounts}})
    assert set(_chosen(settings, ())) == {"right", "wrong"}
    assert _chosen(settings, ("wrong",)) == ("wrong",)


def test_which_orthanc_runs():
    settings = configuration.read({"HttpPort": 8765})
    running = Service(USER, "process 1", pid=1)
    assert _rest(settings, None, None) is None
    assert _rest(settings, Service(USER, "--user"), None) is None
    assert _rest(settings, running, None).url == "http://127.0.0.1:8765"
    assert _rest(settings, None, "http://host:1/").url == "http://host:1"
    assert _rest(configuration.read({"HttpServerEnabled": False}), running, None) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.usefixtures("environment")
def test_root_takes_the_environment_of_the_service():
    os.environ |= {"NO_COLOR": "1", "SECRET_OF_ROOT": "x"}
    _become(Service("root", "orthanc.service", environment={"OF_ORTHANC": "y"}))
    assert os.environ["OF_ORTHANC"] == "y"
    assert os.environ["NO_COLOR"] == "1"
    assert "SECRET_OF_ROOT" not in os.environ
    with pytest.raises(ConfigurationError, match="there is no user of-no-name on this machine"):
        _become(Service("of-no-name", "--user"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_becomes_the_user_in_a_process_of_its_own():
    """There is no way back. Whether that user can read this Python is another matter."""
    program = (
        "import os, pathlib, sys\n"
        "from orthanc_gcp.commands.check import _become\n"
        "from orthanc_gcp.orthanc.installation import Service\n"
        "try:\n"
        "    _become(Service('nobody', 'process 1', working_directory=pathlib.Path(sys.argv[1])))\n"
        "except Exception as error:\n"
        "    assert 'nobody, who runs Orthanc, cannot read' in str(error), error\n"
        "else:\n"
        "    assert os.getcwd() == sys.argv[1]\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ['USER'])\n"
    )
    with public_folder() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True
        )
    uid, gid = (getattr(pwd.getpwnam("nobody"), name) for name in ("pw_uid", "pw_gid"))
    assert done.stdout == f"{(uid,) * 3} {(gid,) * 3} [{gid}] nobody\n"


def test_a_file_that_orthanc_cannot_read_keeps_it_from_starting(config, monkeypatch):
    """As its user finds it: to root, every file can be read."""
    service = Service(USER, "--user")
    module._see_that_orthanc_can_read([config], service)
    module._see_that_orthanc_can_read([config], None)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(module, "_become", lambda _: None)
    done = invoke("check", config, "--user", USER, code=1)
    assert f"{config}: {USER}, who runs Orthanc, may not read it" in done.stderr
    assert done.stderr.endswith(f"chown {USER} {config}\n")
