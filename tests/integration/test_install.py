"""``orthanc-gcp install`` into a real Orthanc, as Debian installs and starts it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.debian_orthanc import USER, DebianOrthanc
from tests.support.emulator import Emulator
from tests.support.keys import STORE
from tests.support.public_installation import public_folder, public_installation

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run Orthanc as its user")


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """The interpreter of an installation that Orthanc's user can read."""
    with public_folder() as folder:
        yield public_installation(folder / "venv")


@pytest.fixture
def debian() -> Iterator[DebianOrthanc]:
    with public_folder() as folder:
        orthanc = DebianOrthanc(folder)
        yield orthanc
        if orthanc.running:
            orthanc.stop()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One that speaks HTTP: Debian's authorities do not know its certificate."""
    emulator = Emulator(tmp_path_factory.mktemp("emulator"))
    yield emulator
    emulator.stop()


class Command:
    """``orthanc-gcp install`` with a configuration."""

    def __init__(self, python: Path, config: Path) -> None:
        self._command = [str(python), "-m", "orthanc_gcp", "install", "--orthanc-config", config]

    def __call__(self, *arguments: str, code: int = 0, **options: Any) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin"},
            cwd="/",
            check=False,
            **options,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def fill_in(file: Path, emulator: Emulator, credential: Path) -> None:
    """What a person does: an account of the emulator, and where that is."""
    account = json.dumps({**STORE, "ServiceAccountFile": str(credential)})
    text = file.read_text()
    text = text.replace('"Accounts" : {', f'"Accounts" : {{ "my-google" : {account}', 1)
    section = f'"GoogleCloudPlatform" : {{ "BaseUrl" : "{emulator.url}/v1/",'
    file.write_text(text.replace('"GoogleCloudPlatform" : {', section, 1))


def put_credential(folder: Path, emulator: Emulator) -> Path:
    """A credential where it belongs, as its administrator puts it there."""
    credential = folder / "service-account.json"
    credential.write_bytes((emulator.credentials / "service-account.json").read_bytes())
    credential.chmod(0o640)
    os.chown(credential, 0, pwd.getpwnam(USER).pw_gid)
    return credential


def test_from_debians_files_to_a_published_account_and_back(debian, emulator, python):
    before = debian.contents()
    debian.start()
    assert "Hello world from Python!" in debian.log
    install = Command(python, debian.configuration)
    assert f"{debian.configuration}/google-cloud-platform.json" in install()
    debian.restart()
    debian.wait_for_log("Google Cloud Platform: ")
    assert debian.json("GET", "/dicom-web/servers") == []

    section = debian.configuration / "google-cloud-platform.json"
    credential = put_credential(debian.folder / "orthanc-gcp", emulator)
    fill_in(section, emulator, credential)
    filled = section.read_bytes()
    said = install()
    assert "nothing is to be done" in said
    assert "my-google" in said, "its account was checked"
    debian.restart()
    debian.wait_for_servers("my-google")
    answer = debian.request("POST", "/dicom-web/servers/my-google/qido", {"Uri": "/studies"})
    assert answer.status in (200, 400), "an empty search (400 for DICOMweb 1.7) went to the store"

    install("--uninstall")
    aside = "google-cloud-platform.json.removed-by-orthanc-gcp"
    left = debian.contents()
    assert left.pop(aside)[0] == filled, "what was filled in is kept"
    assert left == before
    assert credential.exists(), "a credential is never removed"
    log = debian.restart()
    assert "Hello world from Python!" in log
    assert "Google Cloud Platform" not in log
