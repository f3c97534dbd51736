"""The command ``install`` itself, in this process and as the user who runs these tests.

What it makes of a real Orthanc, as Debian starts it, is tried in tests/integration.
"""

from __future__ import annotations

import json
import os
import pwd

import click
import pytest

from orthanc_gcp.commands import install as module
from tests.support.debian_orthanc import DebianOrthanc, contents
from tests.support.public_installation import public_folder
from tests.support.terminal import invoke

USER = pwd.getpwuid(os.geteuid()).pw_name
ACCOUNT = (
    *("--account", "my-google", "--project", "p", "--location", "l"),
    *("--dataset", "d", "--dicom-store", "s", "--credentials", "application-default"),
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can copy Debian's files")


@pytest.fixture
def configuration():
    """A copy of Debian's configuration."""
    with public_folder() as folder:
        yield DebianOrthanc(folder).configuration


def install(configuration, *arguments, code=0):
    done = invoke("install", "--orthanc-config", configuration, *arguments, code=code)
    return done.stdout + done.stderr


def test_there_and_back_without_an_account(configuration):
    before = contents(configuration)
    said = install(configuration, "--user", USER, "--dry-run")
    assert "would write" in said
    assert "done:" not in said
    assert contents(configuration) == before
    said = install(configuration, "--user", USER)
    assert "There is no account yet: write one into" in said
    assert f"run: orthanc-gcp check {configuration}\n" in said
    assert said.endswith("Then: restart Orthanc\n")
    assert "nothing is to be done" in install(configuration, "--user", USER)
    assert "would " in install(configuration, "--uninstall", "--dry-run")
    install(configuration, "--uninstall")
    assert contents(configuration) == before
    assert install(configuration, "--uninstall") == "nothing is to be done\n"


def test_an_account_is_checked(configuration, monkeypatch):
    """Here it fails: there are no credentials."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    said = install(configuration, "--user", USER, *ACCOUNT, code=1)
    assert "There is no account yet" not in said
    section = (configuration / "google-cloud-platform.json").read_text()
    assert '"my-google"' in section


def test_a_script_of_the_users_own_stays(configuration):
    own = configuration / "own.py"
    own.write_text("import orthanc\n")
    (configuration / "python.json").write_text(json.dumps({"PythonScript": str(own)}))
    said = install(configuration, "--user", USER, code=1)
    assert f"Orthanc runs {own}, a script of your own, which stays." in said
    assert "import orthanc_gcp_plugin\n" in said
    assert own.read_text() == "import orthanc\n"


def test_what_it_cannot_do(configuration, tmp_path):
    missing = tmp_path / "nowhere"
    assert f"there is no {missing}" in install(missing, "--user", USER, code=2)
    said = install(configuration, "--user", "nobody-of-this-name", code=2)
    assert "there is no user nobody-of-this-name" in said
    said = install(configuration, code=2)
    assert "is not known: say it by --user" in said
    assert "takes no account" in install(configuration, "--uninstall", "--account", "a", code=2)
    said = install(configuration, "--user", USER, "--project", "p", code=2)
    assert "--project belongs to an account: name it by --account" in said
    said = install(configuration, "--user", USER, *ACCOUNT[:4], code=2)
    assert "Its location is not known: say it by --location" in said
    (configuration / "broken.json").write_text("{")
    assert "broken.json" in install(configuration, "--user", USER, code=2)
    assert "broken.json" in install(configuration, "--uninstall", code=2)


def test_questions_are_asked_at_a_terminal(monkeypatch, capsys):
    asked = []

    def answer(question, default=None):
        asked.append((question, default))
        return default or "answer"

    monkeypatch.setattr(module.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "prompt", answer)
    assert module._asked("--user", "Who", "orthanc") == "orthanc"
    assert module._asked("--project", "Its project") == "answer"
    assert asked == [("Who", "orthanc"), ("Its project", None)]
