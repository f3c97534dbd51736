"""The README, done word for word on a fresh Debian with Orthanc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from compat.releases import locked_versions
from tests.debian.conftest import new_host
from tests.support.debian import DebianHost
from tests.support.documents import ROOT, Block, blocks
from tests.support.site import make_instance

BLOCKS = list(blocks(ROOT / "README.md"))
TRY, INSTALL, ACCOUNT, SEARCH, SEND, CHECK, OWN_SCRIPT = range(7)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A Debian with Orthanc, where nobody has installed anything of ours yet."""
    with new_host(tmp_path_factory.mktemp("readme"), None) as made:
        made.google.start()
        yield made


@pytest.fixture(scope="module")
def checkout(host) -> Path:
    return copy_checkout(host)


@pytest.fixture(scope="module")
def packages(host) -> dict[str, str]:
    """What tells pip where packages come from: as on this machine, in the tested versions."""
    given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {**given, "PIP_CONSTRAINT": str(locked_versions(host.folder))}


def copy_checkout(host: DebianHost) -> Path:
    """This repository in a folder of its own, with the key that the reader has."""
    folder = host.folder / "orthanc-gcp"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "test-logs", "results")
    shutil.copytree(ROOT, folder, ignore=ignored)
    (folder / "dicom-osimis.json").write_text(host.google.credential())
    return folder


def run(host: DebianHost, block: Block, folder: Path, **environment: str):
    """Do what a block says; an installation of packages is only tried on."""
    done = None
    for command in block.text.replace("\\\n", " ").splitlines():
        fetches = command.startswith(
            ("apt-get", "/usr/bin/python3 -m venv", "/opt/orthanc-gcp/bin/pip")
        )
        done = host.run(command, folder=folder, internet=fetches, **environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert done is not None
    return done


class TestReadme:
    """From nothing to a search, and back: each step needs those before it."""

    @pytest.mark.timeout(600)
    def test_the_installation(self, host, checkout, packages):
        simulated = checkout / "apt.conf"
        simulated.write_text('APT::Get::Simulate "true";\n')
        run(host, BLOCKS[INSTALL], checkout, APT_CONFIG=str(simulated), **packages)
        host.wait_for_orthanc()
        host.wait_for_log("account my-google: published as DICOMweb server")

    def test_the_account_is_as_it_is_shown(self, host):
        written = host.path(BLOCKS[ACCOUNT].place).read_text()
        lines = [line for line in written.splitlines() if not line.lstrip().startswith("//")]
        assert json.loads("\n".join(lines)) == json.loads(BLOCKS[ACCOUNT].text)
        # As it is shown, it does as well.
        host.path(BLOCKS[ACCOUNT].place).write_text(BLOCKS[ACCOUNT].text)
        host.restart()

    def test_the_first_search_finds_an_empty_store(self, host, checkout):
        host.wait_for_servers("my-google")
        answer = run(host, BLOCKS[SEARCH], checkout).stdout
        assert json.loads(answer)["HttpStatus"] == 400
        assert json.loads(answer)["OrthancError"] == "Bad file format"

    def test_sending_and_searching(self, host, checkout):
        (checkout / "image.dcm").write_bytes(make_instance())
        host.curl("/instances", "--data-binary", f"@{checkout}/image.dcm")
        lists, sends, searches = BLOCKS[SEND].text.splitlines()
        (study,) = json.loads(host.run(lists).stdout)
        sent = json.loads(host.run(sends.replace("ORTHANC-STUDY", study)).stdout)
        assert sent["InstancesCount"] == "1"
        (found,) = json.loads(host.run(searches).stdout)
        assert "0020000D" in found

    def test_check(self, host, checkout):
        done = run(host, BLOCKS[CHECK], checkout)
        assert "the DICOMweb plugin reaches the store" in done.stdout

    def test_beside_a_script_of_the_users_own(self, host):
        own = (
            "import orthanc\n"
            + BLOCKS[OWN_SCRIPT].text
            + "    orthanc.LogWarning('mine, too')\n"
            + "orthanc.RegisterOnChangeCallback(on_change)\n"
        )
        assert len([line for line in BLOCKS[OWN_SCRIPT].text.splitlines() if line]) == 5
        host.path("/usr/local/lib/own.py").write_text(own)
        host.edit("python.json", "PythonScript", "/usr/local/lib/own.py")
        before = len(host.log)
        host.restart()
        host.wait_for_servers("my-google")
        assert "mine, too" in host.log[before:]
        assert host.run(BLOCKS[CHECK].text).returncode == 0

    def test_uninstall_leaves_a_working_orthanc(self, host):
        done = host.run("/opt/orthanc-gcp/bin/orthanc-gcp install --uninstall")
        assert done.returncode == 0, done.stderr
        host.edit("python.json", "PythonScript", "/etc/orthanc/sample.py")
        host.restart()
        assert host.curl("/gcp/accounts") is None
        assert host.path("/etc/orthanc-gcp/dicom-osimis.json").exists()


@pytest.mark.parametrize("command", BLOCKS[TRY].text.splitlines())
def test_the_two_commands_are_there(command):
    subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)
